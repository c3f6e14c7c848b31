# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Flags of everything the project compiles: target pmkv_flags.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT CMAKE_BUILD_TYPE AND NOT multi_config)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()
# Asserts stay on in release builds: they guard what is about to be written to the medium.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-Og -g3")

add_library(pmkv_flags INTERFACE)
# Empty, so that a file which has its own `#define _GNU_SOURCE` may keep it.
target_compile_definitions(pmkv_flags INTERFACE _GNU_SOURCE=)
# gcc -Og cannot inline what xxHash says must be.
target_compile_definitions(pmkv_flags INTERFACE $<$<CONFIG:Debug>:XXH_NO_INLINE_HINTS=1>)
target_compile_options(pmkv_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-Wshadow;-Wstrict-prototypes;-Wmissing-prototypes>
    $<$<COMPILE_LANGUAGE:C>:-Wvla;-Wpointer-arith>
    # Messages are cut to their buffers on purpose (errmsg.c).
    $<$<COMPILE_LANG_AND_ID:C,GNU>:-Wno-format-truncation>
    -fno-omit-frame-pointer)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    # gcc would zero and copy what is a little longer by string instructions, which take longer to
    # begin than the whole takes with the C library's vectors.
    target_compile_options(pmkv_flags INTERFACE
        $<$<COMPILE_LANG_AND_ID:C,GNU>:-mstringop-strategy=libcall>)
endif()
if(PMKV_WERROR)
    target_compile_options(pmkv_flags INTERFACE $<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
if(PMKV_SANITIZE)
    target_compile_options(pmkv_flags INTERFACE
                           -fsanitize=${PMKV_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(pmkv_flags INTERFACE -fsanitize=${PMKV_SANITIZE})
endif()
if(PMKV_FUZZ)
    target_compile_options(pmkv_flags INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(pmkv_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(PMKV_COVERAGE)
    # Threads and forked children count at once: plain counters come out negative.
    target_compile_options(pmkv_flags INTERFACE --coverage -fprofile-update=atomic)
    target_link_options(pmkv_flags INTERFACE --coverage)
endif()

# A file named *_avx2.c or *_avx512.c is compiled for that instruction set (and run only where CPUID
# says so); everything else runs on any x86-64.
function(pmkv_vector_flags)
    if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        return()
    endif()
    foreach(source ${ARGN})
        if(source MATCHES "_avx2\\.c$")
            set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS -mavx2)
        elseif(source MATCHES "_avx512\\.c$")
            set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS
                         -mavx2 -mavx512f -mavx512bw -mavx512vl -mavx512dq)
        endif()
    endforeach()
endfunction()
