# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

# Debian 12 has all of them: tools/setup.sh installs what is missing.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

pkg_check_modules(LIBPMEM2 REQUIRED IMPORTED_TARGET libpmem2>=1.12)
pkg_check_modules(LIBNDCTL REQUIRED IMPORTED_TARGET libndctl)
pkg_check_modules(LIBDAXCTL REQUIRED IMPORTED_TARGET libdaxctl)
pkg_check_modules(LIBISAL REQUIRED IMPORTED_TARGET libisal)
# Inlined from its headers (XXH_INLINE_ALL): needed to build, not to run.
pkg_check_modules(LIBXXHASH REQUIRED IMPORTED_TARGET libxxhash>=0.8.1)

set(PMKV_LIBRARY_MODULES libpmem2 libndctl libdaxctl libisal)
set(PMKV_LIBRARY_DEPENDENCIES
    PkgConfig::LIBPMEM2 PkgConfig::LIBNDCTL PkgConfig::LIBDAXCTL PkgConfig::LIBISAL)

if(PMKV_TOOLS)
    pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
endif()
if(PMKV_TESTS)
    pkg_check_modules(CRITERION REQUIRED IMPORTED_TARGET criterion)
endif()
