# Programs whose object files are compiled for different instruction sets. In any link order, each object file must compute
# the same values as in a program of its own. Eigen requires the same alignment in all object files of such a program.
# Without optimisation no function is inlined, so the linker sees every function that it could merge.

set(sets sse2 x86-64 avx2 x86-64-v3 avx512 x86-64-v4)
while(sets)
  list(POP_FRONT sets set arch)
  add_library(part_${set} OBJECT instruction_sets/part.cpp)
  target_link_libraries(part_${set} PRIVATE diffusion::diffusion diffusion_warnings)
  target_compile_definitions(part_${set} PRIVATE PART=part_${set} EIGEN_USE_THREADS EIGEN_MAX_ALIGN_BYTES=64
                             EIGEN_MAX_STATIC_ALIGN_BYTES=64)
  # g++ 12 warns about undefined registers in its own AVX-512 headers.
  target_compile_options(part_${set} PRIVATE -O0 -march=${arch} -Wno-uninitialized
                         $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endwhile()

# add_program(NAME NEEDS FIRST [SECOND]): links these object files in this order. The program is skipped if
# __builtin_cpu_supports(NEEDS) is false.
function(add_program name needs)
  add_executable(${name} instruction_sets/main.cpp)
  target_compile_definitions(${name} PRIVATE "PROCESSOR_HAS_IT=__builtin_cpu_supports(\"${needs}\")" FIRST=part_${ARGV2})
  foreach(part IN LISTS ARGN)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:part_${part}>)
  endforeach()
  target_link_libraries(${name} PRIVATE diffusion_warnings Threads::Threads)
  if(ARGC EQUAL 3)
    target_compile_definitions(${name} PRIVATE WRITE)
  else()
    target_compile_definitions(${name} PRIVATE SECOND=part_${ARGV3})
  endif()
  add_test(NAME ${name} COMMAND ${name} ${CMAKE_CURRENT_BINARY_DIR}/instruction_sets.txt)
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
  set(package_tests ${package_tests} ${name} PARENT_SCOPE)  # one configuration is enough: these files have their own flags
endfunction()

add_program(instruction_sets_alone sse2 sse2)
set_tests_properties(instruction_sets_alone PROPERTIES FIXTURES_SETUP instruction_sets)
add_program(instruction_sets_sse2_avx2 avx2 sse2 avx2)
add_program(instruction_sets_avx2_sse2 avx2 avx2 sse2)
add_program(instruction_sets_avx2_avx512 avx512f avx2 avx512)
add_program(instruction_sets_avx512_avx2 avx512f avx512 avx2)
foreach(pair IN ITEMS sse2_avx2 avx2_sse2 avx2_avx512 avx512_avx2)
  set_tests_properties(instruction_sets_${pair} PROPERTIES FIXTURES_REQUIRED instruction_sets)
endforeach()
