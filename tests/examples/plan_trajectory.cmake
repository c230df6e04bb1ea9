include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# Held waypoints keep their bits, a plan ends at the goal, and only the first plan of each grid allocates.
set(plan " +0[.]0[0-9]+ [|] +0.0e[+]00 +[0-9.]+ [|] +0[.]0[0-9]+ [|]")
set(end "allocations: [0-9]+ for the first two plans, 0 for the .*\nmicroseconds.*\nHeld waypoints stayed")
accepts("50 plans by ddim.*\n +0 +1[.][0-9]+${plan}.*\n +9 +0[.][0-4][0-9]+${plan}.*${end}")
accepts("20 plans by dpmpp.*\n +1 +[0-9.]+${plan}.*\n +19 +[0-9.]+${plan}.*${end}" --sampler dpmpp --replans 20 --strength 0.75 --seed 7)

refuses("--sampler" --sampler heun)
refuses("--replans" --replans 1)
refuses("--strength" --strength 0)
refuses("--strength" --strength 1.5)
refuses("--no-such-option" --no-such-option)
