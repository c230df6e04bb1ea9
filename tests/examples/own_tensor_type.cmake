include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

accepts("   0      0.00   -0.80\n   1      0.96    0.40\n   2     -0.24    0.40\n$")
