# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Counts the cache lines that travel between threads (tests/sharing/lines.h). A sanitizer wants the
# compiler's calls for itself.
if(NOT PMKV_SANITIZE)
    file(GLOB sharing_kv CONFIGURE_DEPENDS kv/*.c recovery/media.c recovery/media/doors.c
         recovery/media/shm.c)
    add_library(pmkv_sharing_kv OBJECT ${sharing_kv})
    target_include_directories(pmkv_sharing_kv PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(pmkv_sharing_kv PRIVATE pmkv_flags ${PMKV_LIBRARY_DEPENDENCIES})
    target_compile_options(pmkv_sharing_kv PRIVATE -fsanitize=thread)

    add_executable(test_sharing tests/sharing/test_sharing.c tests/sharing/lines.c
                   $<TARGET_OBJECTS:pmkv_sharing_kv>)
    set_target_properties(test_sharing PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/sharing)
    target_link_options(test_sharing PRIVATE LINKER:--wrap=pthread_mutex_lock
                        LINKER:--wrap=pthread_mutex_trylock LINKER:--wrap=pthread_mutex_unlock)
    target_link_libraries(test_sharing PRIVATE pmkv_flags pmkv_test_support)
    add_test(NAME sharing/test_sharing COMMAND test_sharing)
    pmkv_test_properties(sharing/test_sharing sharing)
endif()
