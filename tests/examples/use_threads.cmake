include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

accepts("1 thread: .* ms a step\n[0-9]+ threads: .* ms a step\nThe results have the same bits\n$")
