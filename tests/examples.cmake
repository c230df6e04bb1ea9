# Runs the examples on valid input, and on input that they must refuse.
set(serving "")
if(TARGET serving)
  set(serving $<TARGET_FILE:serving>)  # it takes the weights that train_digits writes
endif()
foreach(example IN ITEMS ask_an_engine compare_samplers forward_process plan_trajectory posterior_walk sample_by_name sample_digits
                        sample_from_config sample_onnx serving train_digits use_threads)
  if(TARGET ${example})
    get_target_property(libraries ${example} LINK_LIBRARIES)
    string(FIND "${libraries}" onnxruntime has_onnxruntime)
    math(EXPR has_onnxruntime "${has_onnxruntime} + 1")
    add_test(NAME example_${example} COMMAND ${CMAKE_COMMAND} -D EXAMPLE=$<TARGET_FILE:${example}>
      -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/examples/${example} -D SOURCE_DIR=${PROJECT_SOURCE_DIR}
      -D SERVING=${serving} -D HAS_ONNXRUNTIME=${has_onnxruntime} -P ${CMAKE_CURRENT_SOURCE_DIR}/examples/${example}.cmake)
    list(APPEND package_tests example_${example})
  endif()
endforeach()

# The short examples: each prints what its source says.
file(GLOB short_examples CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/examples/[0-9][0-9]_*.cpp)
foreach(source IN LISTS short_examples)
  cmake_path(GET source STEM name)
  if(TARGET ${name})
    add_test(NAME example_${name} COMMAND ${CMAKE_COMMAND} -D EXAMPLE=$<TARGET_FILE:${name}> -D SOURCE=${source}
      -D WORK_DIR=${CMAKE_CURRENT_BINARY_DIR}/examples/${name} -P ${CMAKE_CURRENT_SOURCE_DIR}/examples/short_examples.cmake)
    list(APPEND package_tests example_${name})
  endif()
endforeach()
