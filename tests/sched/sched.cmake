# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Scripts under a scheduler (tests/sched/sched.h). Their locks and threads are the scheduler's, by
# the linker; their kv/ is compiled with calls for its atomic operations (atomics.c), except where a
# sanitizer wants such calls for itself: then locks and the medium alone are points.

set(timeout_sched 600)
set(sched_wraps pthread_mutex_lock pthread_mutex_trylock pthread_mutex_unlock pthread_cond_wait
    pthread_cond_timedwait pthread_cond_signal pthread_cond_broadcast pthread_create pthread_join
    sched_yield word_wait word_wake_one word_wake_all)
list(TRANSFORM sched_wraps PREPEND "LINKER:--wrap=")

file(GLOB sched_sources CONFIGURE_DEPENDS tests/sched/*.c)
set(sched_tests ${sched_sources})
list(FILTER sched_tests INCLUDE REGEX "/test_[^/]*\\.c$")
list(FILTER sched_sources EXCLUDE REGEX "/test_[^/]*\\.c$")

file(GLOB sched_kv CONFIGURE_DEPENDS kv/*.c)
add_library(pmkv_sched_kv OBJECT ${sched_kv})
target_include_directories(pmkv_sched_kv PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(pmkv_sched_kv PRIVATE pmkv_flags ${PMKV_LIBRARY_DEPENDENCIES})
if(PMKV_SANITIZE)
    list(FILTER sched_sources EXCLUDE REGEX "/atomics\\.c$")
else()
    target_compile_options(pmkv_sched_kv PRIVATE -fsanitize=thread)
endif()

add_library(pmkv_test_sched OBJECT ${sched_sources})
target_link_libraries(pmkv_test_sched PUBLIC pmkv_flags pmkv_test_base)

foreach(source ${sched_tests})
    get_filename_component(stem ${source} NAME_WE)
    set(name sched_${stem})
    add_executable(${name} ${source} $<TARGET_OBJECTS:pmkv_sched_kv>
                   $<TARGET_OBJECTS:pmkv_test_sched>)
    set_target_properties(${name} PROPERTIES
                          OUTPUT_NAME ${stem}
                          RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/sched)
    target_link_options(${name} PRIVATE ${sched_wraps})
    target_link_libraries(${name} PRIVATE pmkv_test_crash pmkv_test_support PkgConfig::CRITERION)
    add_test(NAME sched/${stem} COMMAND ${name})
    pmkv_test_properties(sched/${stem} sched)
endforeach()
