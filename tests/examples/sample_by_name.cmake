include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

accepts("^100 digits by dpmpp_2m in 10 steps of karras\nWrote the picture to sample_by_name.png\n$")
is_png(sample_by_name.png)
accepts("DPM[+][+] 2M SDE in 12 steps of SGM Uniform" --sampler "DPM++ 2M SDE" --sigmas "SGM Uniform" --steps 12 --out named.png)
accepts("EulerDiscreteScheduler in 32 steps of ddim_uniform" --sampler EulerDiscreteScheduler --sigmas ddim_uniform --steps 31)

refuses("there is no \"dpmpp_2n\"; the nearest name is \"dpmpp_2m\". Known names: euler, " --sampler dpmpp_2n)
refuses("there is no \"kerras\"; the nearest name is \"karras\"" --sigmas kerras)
refuses("give the end, karras, to named_sigmas" --sampler "DPM++ 2M Karras")
refuses("cannot open nowhere/out.png for writing" --out nowhere/out.png)
refuses("--steps" --steps 0)
