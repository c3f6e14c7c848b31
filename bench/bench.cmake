# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Peers of pmkv-bench: built in where their packages are installed (tools/setup.sh --bench), and said to
# be missing by the program where they are not. The library needs none of them.

option(PMKV_BENCH_PEERS "Build the peers that are installed into pmkv-bench" ON)

# pmkv_bench_peer(NAME VERSION LIBRARY...): adds bench/peer_NAME.c.
function(pmkv_bench_peer name version)
    string(TOUPPER ${name} upper)
    target_sources(pmkv-bench PRIVATE ${PROJECT_SOURCE_DIR}/bench/peer_${name}.c)
    target_compile_definitions(pmkv-bench PRIVATE PMKV_BENCH_${upper}="${version}")
    target_link_libraries(pmkv-bench PRIVATE ${ARGN})
    message(STATUS "pmkv-bench: with ${name} ${version}")
endfunction()

if(PMKV_BENCH_PEERS AND TARGET pmkv-bench)
    foreach(peer lmdb rocksdb tkrzw)
        string(TOUPPER ${peer} module)
        pkg_check_modules(PEER_${module} QUIET IMPORTED_TARGET ${peer})
        if(PEER_${module}_FOUND)
            pmkv_bench_peer(${peer} ${PEER_${module}_VERSION} PkgConfig::PEER_${module})
        endif()
    endforeach()
    pkg_check_modules(PEER_PMEMOBJ QUIET IMPORTED_TARGET libpmemobj)
    if(PEER_PMEMOBJ_FOUND)
        pmkv_bench_peer(pmemobj ${PEER_PMEMOBJ_VERSION} PkgConfig::PEER_PMEMOBJ)
    endif()
    pkg_check_modules(PEER_SQLITE QUIET IMPORTED_TARGET sqlite3)
    if(PEER_SQLITE_FOUND)
        pmkv_bench_peer(sqlite ${PEER_SQLITE_VERSION} PkgConfig::PEER_SQLITE)
    endif()
    # Debian's LevelDB has no pkg-config file.
    find_library(PEER_LEVELDB_LIBRARY leveldb)
    find_path(PEER_LEVELDB_INCLUDE leveldb/c.h)
    if(PEER_LEVELDB_LIBRARY AND PEER_LEVELDB_INCLUDE)
        pmkv_bench_peer(leveldb "1" ${PEER_LEVELDB_LIBRARY})
        target_include_directories(pmkv-bench SYSTEM PRIVATE ${PEER_LEVELDB_INCLUDE})
    endif()
endif()
