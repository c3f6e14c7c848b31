# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pmkv)

install(FILES kv/pmkv.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(TARGETS pmkv pmkv_static EXPORT pmkv_targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(program pmkv-cli pmkv-bench)
    if(TARGET ${program})
        install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endforeach()

# find_package(pmkv)
install(EXPORT pmkv_targets NAMESPACE pmkv:: FILE pmkvTargets.cmake DESTINATION ${package_dir})
list(JOIN PMKV_LIBRARY_MODULES " " pmkv_requires_private)
configure_package_config_file(cmake/pmkvConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/pmkvConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/pmkvConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/pmkvConfig.cmake
              ${PROJECT_BINARY_DIR}/pmkvConfigVersion.cmake
        DESTINATION ${package_dir})

# pkg-config pmkv. Paths hang on the file's own place, so that `cmake --install --prefix` holds.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}
           OUTPUT_VARIABLE libdir)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}
           OUTPUT_VARIABLE includedir)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
           BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE pc_to_prefix)
configure_file(pmkv.pc.in ${PROJECT_BINARY_DIR}/pmkv.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/pmkv.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
