# Builds, runs and installs the small projects of consumers/, which use the library in the ways that the README shows.

# Their CMakeLists.txt contain the README's CMake blocks word for word.
file(READ ${PROJECT_SOURCE_DIR}/README.md rest)
set(consumers "")
foreach(consumer IN ITEMS installed subdirectory fetched)
  file(READ consumers/${consumer}/CMakeLists.txt text)
  string(APPEND consumers "${text}")
endforeach()
while(rest MATCHES "\n```cmake\n(.*)$")
  set(rest "${CMAKE_MATCH_1}")
  string(FIND "${rest}" "\n```" length)
  string(SUBSTRING "${rest}" 0 ${length} block)
  string(FIND "${consumers}" "${block}\n" found)
  if(found EQUAL -1)
    message(FATAL_ERROR "No project of tests/consumers has this block of README.md:\n${block}")
  endif()
endwhile()

set(prefix ${CMAKE_CURRENT_BINARY_DIR}/prefix)
function(add_consumer consumer)
  add_test(NAME consumer_${consumer} COMMAND ${CMAKE_COMMAND} -D CONSUMER=${consumer}
    -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/consumers/${consumer} -D DIFFUSION_DIR=${PROJECT_SOURCE_DIR}
    -D PREFIX=${prefix} -D GENERATOR=${CMAKE_GENERATOR} -D COMPILER=${CMAKE_CXX_COMPILER} ${ARGN}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/consumers/run.cmake)
  set(package_tests ${package_tests} consumer_${consumer} PARENT_SCOPE)
endfunction()

# The projects use the same Eigen as this build.
if(Eigen3_FOUND)
  set(eigen -DEigen3_DIR=${Eigen3_DIR})
else()
  set(eigen -DFETCHCONTENT_SOURCE_DIR_EIGEN=${eigen_SOURCE_DIR})
endif()
# All headers in one file, as the target amalgamate makes them, with the sources of other packages checked beside it.
get_target_property(eigen_include Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
add_consumer(amalgamated -D EIGEN=${eigen_include})
add_consumer(subdirectory -DOPTIONS=${eigen})
add_consumer(fetched "-DOPTIONS=${eigen}\;-DFETCHCONTENT_SOURCE_DIR_DIFFUSION=${PROJECT_SOURCE_DIR}")

if(DIFFUSION_BUILD_INSTALL AND Eigen3_FOUND)
  add_test(NAME install COMMAND ${CMAKE_COMMAND} --install ${PROJECT_BINARY_DIR} --prefix ${prefix} --config $<CONFIG>)
  set_tests_properties(install PROPERTIES FIXTURES_SETUP installed)
  list(APPEND package_tests install)

  add_consumer(installed "-DOPTIONS=${eigen}\;-DCMAKE_PREFIX_PATH=${prefix}")
  set_tests_properties(consumer_installed PROPERTIES FIXTURES_REQUIRED installed)

  find_program(DIFFUSION_PKG_CONFIG pkg-config)
  find_program(DIFFUSION_MAKE NAMES gmake make)
  mark_as_advanced(DIFFUSION_PKG_CONFIG DIFFUSION_MAKE)
  set(has_no_eigen 1)
  if(DIFFUSION_PKG_CONFIG)
    execute_process(COMMAND ${DIFFUSION_PKG_CONFIG} --exists eigen3 RESULT_VARIABLE has_no_eigen)
  endif()
  if(DIFFUSION_PKG_CONFIG AND DIFFUSION_MAKE AND has_no_eigen EQUAL 0)
    add_consumer(pkg_config -D MAKE=${DIFFUSION_MAKE})
    set_tests_properties(consumer_pkg_config PROPERTIES FIXTURES_REQUIRED installed)
  else()
    message(STATUS "The test consumer_pkg_config is skipped: it needs make, pkg-config and eigen3.pc")
  endif()
else()
  message(STATUS "The tests of the installed package are skipped: they need DIFFUSION_BUILD_INSTALL and an installed Eigen")
endif()
