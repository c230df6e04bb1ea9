include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# When little noise is left, the model gives one digit all the weight, so samples end exactly at digits.
set(arrived "steps [^|]*[|] +0.0e[+]00 +0.0e[+]00 ")
accepts("1797 digits; cosine, .*ddpm, 10 ${arrived}.*ddim, 25 ${arrived}.*Wrote the picture to sample_digits.png"
        --steps 10,25 --samples 100)
is_png(sample_digits.png)

file(WRITE ${WORK_DIR}/bad.csv "heading\n0,1,2\n")
file(WRITE ${WORK_DIR}/empty.csv "")
refuses("bad.csv, line 2: not 64 numbers" bad.csv)
refuses("empty.csv has 0 digits" empty.csv)
refuses("cannot open nowhere.csv" nowhere.csv)
refuses("cannot read [.]" .)
refuses("cannot open nowhere/out.png" --steps 1 --samples 100 --out nowhere/out.png)
refuses("squaredcos_cap_v2" --schedule no-such-schedule)
refuses("--steps" --steps 1001)
refuses("--samples" --samples 99)
refuses("--no-such-option" --no-such-option)
