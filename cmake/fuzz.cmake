# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Fuzz targets: tests/fuzz/fuzz_*.c. With PMKV_FUZZ they are libFuzzer programs (tools/fuzz.sh), else
# each runs its corpus once, as a test.

# What takes no bytes of the input apart would only slow the rest down when its branches are traced.
if(PMKV_FUZZ)
    file(GLOB untraced kv/index*.c recovery/hash*.c recovery/parity*.c recovery/media/sim*.c)
    set_property(SOURCE ${untraced} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=fuzzer-no-link)
endif()

file(GLOB targets CONFIGURE_DEPENDS tests/fuzz/fuzz_*.c)
file(GLOB cli_sources CONFIGURE_DEPENDS tools/cli/*.c)
list(FILTER cli_sources EXCLUDE REGEX "/main\\.c$")

# The command line without its main, which the target of its arguments calls by another name.
add_library(pmkv_fuzz_cli OBJECT EXCLUDE_FROM_ALL ${cli_sources})
add_library(pmkv_fuzz_cli_main OBJECT EXCLUDE_FROM_ALL tools/cli/main.c)
target_compile_definitions(pmkv_fuzz_cli_main PRIVATE main=pmkv_cli_main)
target_compile_options(pmkv_fuzz_cli_main PRIVATE
                       -include ${PROJECT_SOURCE_DIR}/tests/fuzz/cli_main.h)
foreach(part pmkv_fuzz_cli pmkv_fuzz_cli_main)
    target_link_libraries(${part} PRIVATE pmkv_flags pmkv_test_base)
endforeach()

foreach(source ${targets})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source} tests/fuzz/image.c)
    target_link_libraries(${name} PRIVATE pmkv_flags pmkv_test_base)
    set_target_properties(${name} PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/fuzz)
    if(name MATCHES "fuzz_(load|cli)$")
        target_sources(${name} PRIVATE $<TARGET_OBJECTS:pmkv_fuzz_cli>)
    endif()
    if(name STREQUAL "fuzz_cli")
        target_sources(${name} PRIVATE $<TARGET_OBJECTS:pmkv_fuzz_cli_main>)
        target_link_options(${name} PRIVATE LINKER:--wrap=argp_parse LINKER:--wrap=argp_error)
    endif()
    if(PMKV_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        target_sources(${name} PRIVATE tests/fuzz/replay.c)
        string(REPLACE "fuzz_" "" stem ${name})
        file(GLOB corpus CONFIGURE_DEPENDS tests/fuzz/corpus/${stem}/*)
        add_test(NAME fuzz/${name} COMMAND ${name} ${corpus})
        pmkv_test_properties(fuzz/${name} fuzz)
        if(name STREQUAL "fuzz_cli") # commands are left in the middle by a wrong argument
            set_property(TEST fuzz/${name} APPEND PROPERTY ENVIRONMENT
                         "ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0")
        endif()
    endif()
endforeach()
