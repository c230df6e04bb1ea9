include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# Held waypoints keep their bits, a plan ends at the goal, and only the first plan of each grid allocates.
set(plan " +0[.]0[0-9]+ [|] +0.0e[+]00 +[0-9.]+ [|] +0[.]0[0-9]+ [|]")
set(end "allocations outside the model: [0-9]+ for the first two plans, 0 for the .*\nmicroseconds.*\nHeld waypoints stayed.*Wrote the picture to plan_trajectory.png")
accepts("50 plans by ddim.*\n +0 +1[.][0-9]+${plan}.*\n +9 +0[.][0-4][0-9]+${plan}.*${end}")
accepts("20 plans by dpmpp.*\n +1 +[0-9.]+${plan}.*\n +19 +[0-9.]+${plan}.*${end}" --sampler dpmpp --replans 20 --strength 0.75 --seed 7)

is_png(plan_trajectory.png 1200 1040)
accepts("3 plans.*Wrote the picture to light.png" --replans 3 --theme light --out light.png)
is_png(light.png 1200 1040)

# The trained policy gets near to the goal too.
set(policy ${SOURCE_DIR}/examples/onnx/policy.onnx)
if(HAS_ONNXRUNTIME)
  accepts("20 plans by ddim with .*policy.onnx.*\n +9 +0[.][0-4][0-9]+ +0[.][01][0-9]+ [|] +0.0e[+]00 .*${end}" --model ${policy} --replans 20)
  refuses("cannot read nowhere.onnx" --model nowhere.onnx)
  refuses("digits.onnx .*another element type: class_labels" --model ${SOURCE_DIR}/examples/onnx/digits.onnx)
else()
  refuses("--model needs ONNX Runtime" --model ${policy})
endif()

refuses("cannot open nowhere/out.png" --out nowhere/out.png)
refuses("--theme" --theme blue)
refuses("--sampler" --sampler heun)
refuses("--replans" --replans 1)
refuses("--strength" --strength 0)
refuses("--strength" --strength 1.5)
refuses("--no-such-option" --no-such-option)
