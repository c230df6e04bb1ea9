include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

accepts("linear, T = .*\nThe walk agrees with the closed form")
accepts("cosine, T = 50,.*\n +49 .*\n +0 .*\nThe walk agrees with the closed form"
        --schedule cosine --steps 50 --walkers 20000 --seed 7)

refuses("--no-such-option" --no-such-option)
refuses("squaredcos_cap_v2" --schedule no-such-schedule)
refuses("--walkers" --walkers 0)
