include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# At 48 calls, methods of first order have errors near 1e-2, of second order near 1e-3 or 1e-4, of third order near 1e-5.
set(e "[0-9][.][0-9]e-0")
accepts("model calls +6 +12 +48\nDdim +${e}1 +${e}2 +${e}2\n.*\nHeun .* ${e}3\n.*\nDpmSolverPP +.* ${e}4\n.*\nUniPc, order 3 .* ${e}[56]\n.*20 more sets.*\nTcd +${e}1 .*Wrote the chart to compare_samplers.png and the samples to compare_samplers_points.png"
        --samples 400 --calls 6,12,48)
is_png(compare_samplers.png 1200 1440)
is_png(compare_samplers_points.png 1200 840)

# Some samplers need more calls, and gnuplot needs these file names quoted.
accepts("Pndm, Runge-Kutta +-\n.*Wrote the chart to it's.png and the samples to a b.png"
        --samples 100 --calls 2 --seed 7 --theme light --out "it's.png" --points "a b.png")
is_png("it's.png")
is_png("a b.png")
accepts("--calls.*--samples.*--seed.*--out.*--points" --help)

refuses("cannot open nowhere/out.png for writing" --samples 100 --calls 2 --out nowhere/out.png)
refuses("cannot open nowhere/points.png for writing" --samples 100 --calls 2 --points nowhere/points.png)
refuses("--theme" --theme blue)
refuses("--calls" --calls 1)
refuses("--calls" --calls few)
refuses("--samples" --samples 9)
refuses("--no-such-option" --no-such-option)
