# Tests of interop/mpi.hpp, and of the examples on several processes. They run if MPI is found. If both Open MPI and MPICH are
# installed, generate_mpi is built with each.
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI QUIET COMPONENTS CXX)
if(NOT MPI_CXX_FOUND)
  message(STATUS "The tests of MPI are skipped, because MPI is not installed; on Debian and Ubuntu: apt-get install libopenmpi-dev")
  return()
endif()

# Lets Open MPI run as root, run more processes than there are processors, and use shared memory in a container.
set(mpi_environment OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
                    PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe OMPI_MCA_btl_vader_single_copy_mechanism=none)
function(add_mpi_test name)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT "${mpi_environment}" TIMEOUT 300)
  set(package_tests ${package_tests} ${name} PARENT_SCOPE)
endfunction()

add_executable(diffusion_mpi_tests interop/mpi.cpp)
target_link_libraries(diffusion_mpi_tests PRIVATE diffusion_test_support MPI::MPI_CXX)
target_compile_options(diffusion_mpi_tests PRIVATE $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-O0>)
foreach(k IN ITEMS 1 2 3 5)
  add_mpi_test(mpi_${k}_processes ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${k} $<TARGET_FILE:diffusion_mpi_tests>)
endforeach()

add_documented_header(diffusion/interop/mpi.hpp)
target_link_libraries(documentation_mpi_1 PRIVATE MPI::MPI_CXX)
set_target_properties(documentation_mpi_1 PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)  # MPI has other definitions
set_tests_properties(documentation_mpi_1 PROPERTIES ENVIRONMENT "${mpi_environment}")

# Runs tests/examples/<script>.cmake with a program and the mpirun of its MPI.
function(add_mpi_example name script program mpirun)
  add_mpi_test(example_${name} ${CMAKE_COMMAND} -D EXAMPLE=${program} -D MPIRUN=${mpirun} -D WITH_NUMPY=${with_numpy}
               -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/examples/${name} -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
               -P ${CMAKE_CURRENT_SOURCE_DIR}/examples/${script}.cmake)
  set(package_tests ${package_tests} PARENT_SCOPE)
endfunction()

set(with_numpy "")
find_program(DIFFUSION_PYTHON3 python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(DIFFUSION_PYTHON3 python3)
mark_as_advanced(DIFFUSION_PYTHON3)
if(DIFFUSION_PYTHON3)
  execute_process(COMMAND ${DIFFUSION_PYTHON3} -c "import numpy" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed)
    set(with_numpy ${DIFFUSION_PYTHON3})
  endif()
endif()

if(TARGET generate_mpi)
  add_mpi_example(generate_mpi generate_mpi $<TARGET_FILE:generate_mpi> ${MPIEXEC_EXECUTABLE})
  # The other MPI, if its compiler and mpirun are installed beside the first.
  file(REAL_PATH ${MPI_CXX_COMPILER} first_compiler)
  foreach(other IN ITEMS openmpi mpich)
    find_program(DIFFUSION_MPICXX_${other} mpicxx.${other})
    find_program(DIFFUSION_MPIRUN_${other} mpirun.${other})
    mark_as_advanced(DIFFUSION_MPICXX_${other} DIFFUSION_MPIRUN_${other})
    if(DIFFUSION_MPICXX_${other} AND DIFFUSION_MPIRUN_${other})
      file(REAL_PATH ${DIFFUSION_MPICXX_${other}} compiler)
      if(NOT compiler STREQUAL first_compiler)
        execute_process(COMMAND ${DIFFUSION_MPICXX_${other}} -show OUTPUT_VARIABLE flags)
        separate_arguments(flags UNIX_COMMAND "${flags}")
        set(include_flags ${flags})
        list(FILTER include_flags INCLUDE REGEX "^-I")
        list(TRANSFORM include_flags REPLACE "^-I" "")
        list(FILTER flags INCLUDE REGEX "^-(L|l|Wl,)")
        add_executable(generate_mpi_${other} ${PROJECT_SOURCE_DIR}/examples/studies/generate_mpi.cpp)
        target_include_directories(generate_mpi_${other} PRIVATE ${PROJECT_SOURCE_DIR}/examples)
        target_include_directories(generate_mpi_${other} SYSTEM PRIVATE ${include_flags})
        target_compile_definitions(generate_mpi_${other} PRIVATE EXAMPLE_DATA_DIR="${PROJECT_SOURCE_DIR}/examples/data"
                                                                 OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
        target_link_libraries(generate_mpi_${other} PRIVATE diffusion::diffusion diffusion_warnings example_options ${flags})
        add_mpi_example(generate_mpi_${other} generate_mpi $<TARGET_FILE:generate_mpi_${other}> ${DIFFUSION_MPIRUN_${other}})
      endif()
    endif()
  endforeach()
endif()

if(TARGET train_digits)
  add_mpi_example(train_digits_mpi train_digits_mpi $<TARGET_FILE:train_digits> ${MPIEXEC_EXECUTABLE})
else()
  message(STATUS "The test of training on several processes is skipped, because the example train_digits is not built")
endif()
