# Runs the examples on valid input, and on input that they must refuse.
set(serving "")
if(TARGET serving)
  set(serving $<TARGET_FILE:serving>)  # it takes the weights that train_digits writes
endif()
foreach(example IN ITEMS ask_an_engine compare_samplers forward_process own_tensor_type plan_trajectory posterior_walk
                        sample_by_name sample_digits sample_from_config serving train_digits use_threads)
  if(TARGET ${example})
    add_test(NAME example_${example} COMMAND ${CMAKE_COMMAND} -D EXAMPLE=$<TARGET_FILE:${example}>
      -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/examples/${example} -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
      -D SERVING=${serving} -P ${CMAKE_CURRENT_SOURCE_DIR}/examples/${example}.cmake)
    list(APPEND package_tests example_${example})
  endif()
endforeach()

# The short examples: each prints the numbers that short_examples.cmake expects.
file(GLOB short_examples CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/[0-9][0-9]_*.cpp)
foreach(source IN LISTS short_examples)
  cmake_path(GET source STEM name)
  if(TARGET ${name})
    add_test(NAME example_${name} COMMAND ${CMAKE_COMMAND} -D EXAMPLE=$<TARGET_FILE:${name}>
      -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/examples/${name} -P ${CMAKE_CURRENT_SOURCE_DIR}/examples/short_examples.cmake)
    list(APPEND package_tests example_${name})
  endif()
endforeach()
