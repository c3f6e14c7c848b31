# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Tests are named after their files and labelled by their folder:
#   tests/{unit,media,crash,fail,cli}/test_*.c   Criterion programs, linked with the static library
#   tests/{unit,media,crash,fail,cli}/*.c   helpers of that folder's tests
#   tests/support/*.c                       helpers of all of them
#   tests/stress/stress_*.c                 stand-alone programs; their default bounds are short
#   tests/cli/*.sh                          shell tests: $1 is pmkv-cli; exit 77 means skipped
#   tests/include_direction.py              the layers

# Seconds before a test counts as hung, per folder; sanitizers and coverage get four times as much.
set(timeout_unit 300)
set(timeout_media 600)
set(timeout_crash 1200)
set(timeout_fail 600)
set(timeout_fuzz 300)
set(timeout_cli 300)
set(timeout_prove 300)
set(timeout_sharing 300)
set(timeout_stress 600)
set(timeout_factor 1)
if(PMKV_SANITIZE OR PMKV_COVERAGE)
    set(timeout_factor 4)
endif()

# The long ones begin first, else the last one has a machine of many processors to itself.
set(cost_fail 40)
set(cost_prove 30)
set(cost_crash 20)
set(cost_sched 10)

set(test_environment
    CRITERION_VERBOSITY_LEVEL=1 # names what is skipped, and why
    "ASAN_OPTIONS=abort_on_error=1:allocator_may_return_null=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")
if(PMKV_SANITIZE OR PMKV_COVERAGE)
    list(APPEND test_environment PMKV_CRASH_EVERY=3 PMKV_SCHED_EVERY=3) # three times as slow
endif()
if(PMKV_SANITIZE) # coverage needs them all
    list(APPEND test_environment PMKV_FAIL_EVERY=2)
endif()

function(pmkv_test_properties name folder)
    math(EXPR timeout "${timeout_${folder}} * ${timeout_factor}")
    set_tests_properties(${name} PROPERTIES
                         LABELS ${folder}
                         TIMEOUT ${timeout}
                         COST "0${cost_${folder}}"
                         SKIP_RETURN_CODE 77
                         ENVIRONMENT "${test_environment}")
    if(PMKV_SANITIZE)
        # Criterion does not mind a worker that reports a leak when its test is over.
        set_tests_properties(${name} PROPERTIES FAIL_REGULAR_EXPRESSION
                             "ERROR: [A-Za-z]+Sanitizer;WARNING: ThreadSanitizer;runtime error: ")
    endif()
endfunction()

# A static library, so that a test links only the helpers it uses.
function(pmkv_test_helpers target)
    if(ARGN)
        add_library(${target} STATIC ${ARGN})
        target_link_libraries(${target} PUBLIC pmkv_flags pmkv_test_base)
    else()
        add_library(${target} INTERFACE)
        target_link_libraries(${target} INTERFACE pmkv_flags pmkv_test_base)
    endif()
endfunction()

add_library(pmkv_test_base INTERFACE)
target_include_directories(pmkv_test_base INTERFACE
                           ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(pmkv_test_base INTERFACE pmkv_static ${PMKV_LIBRARY_DEPENDENCIES}
                      PkgConfig::JANSSON Threads::Threads m)
if(NOT PMKV_TOOLS)
    pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
endif()
if(PMKV_COVERAGE)
    add_library(pmkv_test_counts STATIC cmake/counts_at_exit.c)
    target_link_libraries(pmkv_test_base INTERFACE pmkv_test_counts)
    target_link_options(pmkv_test_base INTERFACE LINKER:--wrap=_exit)
endif()

file(GLOB support_sources CONFIGURE_DEPENDS tests/support/*.c)
pmkv_test_helpers(pmkv_test_support ${support_sources})

# The calls that the programs of tests/fail let fail.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS tests/fail/calls.txt)
file(STRINGS tests/fail/calls.txt fail_wraps REGEX "^fails ")
list(TRANSFORM fail_wraps REPLACE "^fails " "LINKER:--wrap=")

foreach(folder unit media crash fail cli)
    file(GLOB sources CONFIGURE_DEPENDS tests/${folder}/*.c)
    set(tests ${sources})
    list(FILTER tests INCLUDE REGEX "/test_[^/]*\\.c$")
    list(FILTER sources EXCLUDE REGEX "/test_[^/]*\\.c$")
    pmkv_test_helpers(pmkv_test_${folder} ${sources})
    foreach(source ${tests})
        get_filename_component(stem ${source} NAME_WE)
        set(name ${folder}_${stem})
        add_executable(${name} ${source})
        set_target_properties(${name} PROPERTIES
                              OUTPUT_NAME ${stem}
                              RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/${folder})
        target_link_libraries(${name} PRIVATE pmkv_test_${folder} pmkv_test_support
                              PkgConfig::CRITERION)
        if(PMKV_SANITIZE MATCHES "address")
            target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/cmake/leaks_in_workers.c)
        endif()
        if(folder STREQUAL "fail")
            target_link_options(${name} PRIVATE ${fail_wraps})
        endif()
        if(folder STREQUAL "cli" AND TARGET pmkv-cli)
            add_dependencies(${name} pmkv-cli)
            target_compile_definitions(${name} PRIVATE
                                       PMKV_CLI_PATH="$<TARGET_FILE:pmkv-cli>")
        endif()
        add_test(NAME ${folder}/${stem} COMMAND ${name})
        pmkv_test_properties(${folder}/${stem} ${folder})
    endforeach()
endforeach()

file(GLOB sources CONFIGURE_DEPENDS tests/stress/*.c)
set(programs ${sources})
list(FILTER programs INCLUDE REGEX "/stress_[^/]*\\.c$")
list(FILTER sources EXCLUDE REGEX "/stress_[^/]*\\.c$")
pmkv_test_helpers(pmkv_test_stress ${sources})
add_custom_target(stress-programs)
foreach(source ${programs})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    set_target_properties(${name} PROPERTIES
                          RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/stress)
    target_link_libraries(${name} PRIVATE pmkv_test_stress pmkv_test_support)
    add_dependencies(stress-programs ${name})
    set(arguments)
    if(name STREQUAL "stress_clean" AND PMKV_SANITIZE STREQUAL "thread")
        set(arguments --rounds 2) # four minutes else, for what are ten seconds without
    endif()
    add_test(NAME stress/${name} COMMAND ${name} ${arguments})
    pmkv_test_properties(stress/${name} stress)
endforeach()

# The prover (tests/prove/prove.h): tools/prove.sh runs it for long; here it shows that it works.
file(GLOB sources CONFIGURE_DEPENDS tests/prove/*.c)
add_executable(prove ${sources})
set_target_properties(prove PROPERTIES
                      RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests/prove)
target_link_libraries(prove PRIVATE pmkv_flags pmkv_test_base pmkv_test_support)
add_test(NAME prove/prove COMMAND prove --images 5000 --seconds 60 --per-job 40 --workers 1)
pmkv_test_properties(prove/prove prove)

# Shell helpers that tests source are named lib*.sh.
file(GLOB scripts CONFIGURE_DEPENDS tests/cli/*.sh)
list(FILTER scripts EXCLUDE REGEX "/lib[^/]*\\.sh$")
if(TARGET pmkv-cli)
    foreach(script ${scripts})
        get_filename_component(stem ${script} NAME_WE)
        add_test(NAME cli/${stem}.sh COMMAND bash ${script} $<TARGET_FILE:pmkv-cli>)
        pmkv_test_properties(cli/${stem}.sh cli)
    endforeach()
endif()

find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    add_test(NAME style/include_direction
             COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/include_direction.py
                     ${PROJECT_SOURCE_DIR})
    add_test(NAME style/include_direction_self_test
             COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/include_direction.py
                     --self-test)
    set_tests_properties(style/include_direction style/include_direction_self_test
                         PROPERTIES LABELS style)
    if(NOT PMKV_SANITIZE AND NOT PMKV_COVERAGE) # these add calls of their own
        add_test(NAME fail/calls
                 COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/fail/calls.py
                         ${PROJECT_SOURCE_DIR}/tests/fail/calls.txt $<TARGET_FILE:pmkv_static>)
        pmkv_test_properties(fail/calls fail)
    endif()
endif()

include(cmake/fuzz.cmake)

# Tests that need more than the rules above say so in their own file.
include(tests/tests.cmake OPTIONAL)
