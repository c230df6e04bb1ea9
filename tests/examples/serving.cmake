include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# Part 1 is the same on every machine. Part 2 measures times, so only its shape is known.
set(incidents "ancestral .* 0  refused .*not one of ddim, ddpm, .*guidance = nan is outside .* 1  failed +step 1 of 12: .*not finite\n")
string(APPEND incidents ".* 5  no run has moved.* 6  cancelled +step 7 of 20: .* 17  done\n.* 25  expired +step 24 of 30: ")
set(loads " 0[.]5  one by one .* [|] +1[.]0\n.* 0[.]5  batched .* 4[.]0  one by one .* [|] +1[.]0\n.* 4[.]0  batched .* [|] +[1-8][.][0-9]\n")
accepts("${incidents}.*The 6 pictures have the same bits.*${loads}.*Each of the 20 pictures has the same bits .*Wrote the plot to s.png"
        --requests 20 --max-batch 8 --seed 7 --out s.png)
is_png(s.png 1200 960)
accepts("--max-batch.*--requests.*--seed.*--weights.*--out" --help)

refuses("cannot open nowhere/out.png for writing" --out nowhere/out.png)
refuses("cannot open nowhere.csv" nowhere.csv)
refuses("cannot open nowhere.pt|needs libtorch" --weights nowhere.pt)
refuses("--requests" --requests 9)
refuses("--max-batch" --max-batch 0)
refuses("--max-batch" --max-batch many)
refuses("--no-such-option" --no-such-option)
