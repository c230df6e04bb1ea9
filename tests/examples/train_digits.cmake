include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# A short training, far from convergence. (The smallest possible loss, that of the posterior mean of v, is above 0.)
accepts("1597 digits to learn, 200 held out.*Wrote the weights to short.pt.*held-out digits +[0-9].*fell from 0[.][78].*to 0[.][45]"
        --steps 120 --fall 1.4 --weights short.pt --out short.png)
is_png(short.png)

# Samples with the weights written above.
accepts("100 digits by ddim in 50 steps.*Wrote the picture to loaded.png" --load short.pt --out loaded.png)
is_png(loaded.png)

# Requires an impossible fall of the loss.
refuses("the loss did not fall by a factor of 1000" --steps 10 --fall 1000)

file(WRITE ${WORK_DIR}/bad.pt "no weights")
refuses("cannot read bad.pt as weights" --load bad.pt)
refuses("cannot open nowhere.pt" --load nowhere.pt)
refuses("cannot open nowhere/w.pt for writing" --weights nowhere/w.pt)
refuses("cannot open nowhere/out.png for writing" --out nowhere/out.png)
refuses("cannot open nowhere.csv" nowhere.csv)
refuses("--steps" --steps 0)
refuses("--load" --load short.pt --steps 10)
refuses("--no-such-option" --no-such-option)

# The server asks the network with these weights.
if(SERVING)
  set(EXAMPLE ${SERVING})
  accepts("Each of the 10 pictures has the same bits at all loads" --weights short.pt --requests 10 --max-batch 8)
endif()
