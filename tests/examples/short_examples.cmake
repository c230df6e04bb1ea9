# The output of the short examples, from the first line to the last.
include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

set(expected_01_forward_process "
   0      0.999979     0.006425   0.994267
 250      0.919722     0.392571   0.570723
 500      0.701630     0.712541   0.068176
 999      0.000049     1.000000   -0.888958
from x_500 = 0.068176 to x_499: mean 0.072227, deviation 0.056089
$")
set(expected_02_training_step "^step  0: loss 0.2500, output 0.100\nstep 10: .*\nstep 20: loss 0.0000, output 0.4")
set(expected_03_ddim "^eta = 0: mean 0.26, standard deviation 0.42\neta = 1: mean 0.26, standard deviation 0.39\n$")
set(expected_04_stable_diffusion "^25 steps from timestep 961 to 1; mean of the latent 1.525\n$")
set(expected_05_image_to_image "^strength 0.2: 10 steps, correlation with the picture 0.95
strength 0.5: 25 steps, correlation with the picture 0.72
strength 0.8: 40 steps, correlation with the picture 0.32
strength 1.0: 50 steps, correlation with the picture -?0.00
$")
set(expected_06_inpainting "^known 0.75 0.75 0.75 0.75 . drawn 0.68 0.68 0.68 0.68\n$")
# The sigmas are those of diffusers' FlowMatchEulerDiscreteScheduler.
set(expected_07_flow_matching "^SD3  sigmas 1.00000 0.85769 0.60215 0.00893 0, x_0 = 0.500
Flux sigmas 1.00000 0.90453 0.75951 0.51284 0, x_0 = 0.500
$")
set(expected_08_replan "^goal 0.2: 4 calls, last waypoint 0.20\n.*\ngoal 0.6: 4 calls, last waypoint 0.60\n$")
set(expected_09_any_tensor "^0.25 0.50 0.75\n$")
set(expected_10_asked_by_an_engine "^19 calls for 10 steps; difference from a driven run: 0\n$")
set(expected_11_batch_of_prompts "^prompt -0.25: -0.5620 in the batch, -0.5620 alone
prompt  0.00: -0.0025 in the batch, -0.0025 alone
prompt  0.25: 0.5511 in the batch, 0.5511 alone
$")

cmake_path(GET EXAMPLE STEM example)
if(NOT DEFINED expected_${example})
  message(FATAL_ERROR "The output of ${example} is not in short_examples.cmake")
endif()
accepts("${expected_${example}}")
