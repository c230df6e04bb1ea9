include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# A short training, by far not to the end: the least possible loss, that of the posterior mean of v, is above 0.
accepts("1597 digits to learn, 200 held out.*The weights are in short.pt.*held-out digits +[0-9].*fell from 0[.][67].*to 0[.][34]"
        --steps 300 --fall 1.6 --weights short.pt --out short.png)
is_png(short.png)

# What it wrote can be sampled with.
accepts("100 digits by ddim in 50 steps.*is loaded.png" --load short.pt --out loaded.png)
is_png(loaded.png)

# A loss that cannot fall so far.
refuses("the loss did not fall by the factor 1000" --steps 10 --fall 1000)

file(WRITE ${WORK_DIR}/bad.pt "no weights")
refuses("cannot read bad.pt as weights" --load bad.pt)
refuses("cannot open nowhere.pt" --load nowhere.pt)
refuses("cannot open nowhere/w.pt for writing" --weights nowhere/w.pt)
refuses("cannot open nowhere/out.png for writing" --out nowhere/out.png)
refuses("cannot open nowhere.csv" nowhere.csv)
refuses("--steps" --steps 0)
refuses("--load" --load short.pt --steps 10)
refuses("--no-such-option" --no-such-option)
