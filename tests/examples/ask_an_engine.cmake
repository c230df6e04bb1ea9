include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# Two samplers ask twice in every step but the last, so the last run ends after 99 batches.
accepts("99 batches of up to 3 requests\n.*DDIM +[12][.][0-9]+ +0[.][45].*Heun.* +0[.][45].*SDE.* +0[.][45].*the data +2.000 +0.500\n$")
