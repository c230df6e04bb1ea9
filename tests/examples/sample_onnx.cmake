include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# The digits are those of Python, and do not depend on who calls the network.
accepts("^100 digits in 25 steps, .*from the digits of Python: [1-9][.][0-9]e-0[5-7]\n.*being asked: 0\nWrote the picture to sample_onnx.png\n$")
is_png(sample_onnx.png 772 436)
accepts("--model.*--expected.*--out" --help)

set(onnx ${SOURCE_DIR}/examples/onnx)
file(WRITE ${WORK_DIR}/damaged.onnx "not a network")
file(WRITE ${WORK_DIR}/short.txt "0.5 0.25")
refuses("cannot read nowhere.onnx" --model nowhere.onnx)
refuses("cannot read [.]" --model .)
refuses("damaged.onnx is not a network" --model damaged.onnx)
refuses("policy.onnx.*(another element type: observation)" --model ${onnx}/policy.onnx)
refuses("cannot read 6400 numbers from nowhere.txt" --expected nowhere.txt)
refuses("cannot read 6400 numbers from short.txt" --expected short.txt)
refuses("cannot open nowhere/out.png" --out nowhere/out.png)

# Other digits are noticed.
file(READ ${onnx}/samples.txt samples)
string(REGEX REPLACE "^-?[0-9.e-]+" "3.0" samples "${samples}")
file(WRITE ${WORK_DIR}/other.txt "${samples}")
run(--expected other.txt)
if(NOT code EQUAL 1 OR NOT out MATCHES "from the digits of Python: [3-4][.][0-9]e[+]00")
  message(FATAL_ERROR "Expected exit code 1 and a large difference:\n${what_happened}")
endif()
