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
