# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# pmkv-cli, pmkv-demo, pmkv-bench: each is there when its folder has sources. They see the public header
# only. The first two link the shared library, so a symbol that is not exported is noticed here; the
# bench also measures the safe copies, which no shared library exports, and links the static one.

function(pmkv_program name folder library)
    file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.c)
    list(FILTER sources EXCLUDE REGEX "/peer_[a-z]+\\.c$") # bench.cmake adds those that can be built
    if(NOT sources)
        message(STATUS "${name}: no sources in ${folder} yet")
        return()
    endif()
    add_executable(${name} ${sources})
    target_link_libraries(${name} PRIVATE pmkv_flags ${library} PkgConfig::JANSSON Threads::Threads m)
    if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
        set_target_properties(${name} PROPERTIES
                              INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
    endif()
endfunction()

pmkv_program(pmkv-cli tools/cli pmkv)
pmkv_program(pmkv-demo tools/demo pmkv)
pmkv_program(pmkv-bench bench pmkv_static)

# Peers of the benchmark, where they are installed: the bench's own business.
include(bench/bench.cmake OPTIONAL)
