# Further variable: MPIRUN, the mpirun of the MPI that the program was built with.
include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)
set(program ${EXAMPLE})

# One and two processes train with the same losses, also if the batch cannot be divided equally.
accepts("Wrote the weights to 1.pt" --steps 20 --batch 127 --losses 1.txt --weights 1.pt)
set(EXAMPLE ${MPIRUN} -n 2 ${program})
accepts("20 training steps of 127 digits.*Wrote the weights to 2.pt" --steps 20 --batch 127 --losses 2.txt --weights 2.pt)
execute_process(COMMAND paste 1.txt 2.txt
                COMMAND awk "NF != 2 || /[^0-9.e\\t-]/ || $1 < 0.01 || $1 - $2 > 1e-4 || $2 - $1 > 1e-4 { wrong = 1 }
                             END { exit wrong || NR != 20 }"
                WORKING_DIRECTORY ${WORK_DIR} RESULT_VARIABLE differ)
if(differ)
  message(FATAL_ERROR "The losses of two processes differ from those of one by more than 1e-4")
endif()

# An error is one line, and ends all processes.
function(rejects pattern)
  run(${ARGN} --steps 5)
  if(NOT code EQUAL 1 OR NOT err MATCHES "train_digits: [^\n]*${pattern}" OR err MATCHES "train_digits: .*train_digits: ")
    message(FATAL_ERROR "Expected exit code 1 and one error line like ${pattern}:\n${what_happened}")
  endif()
endfunction()
rejects("--batch 1 is less than the 2 processes" --batch 1)
rejects("cannot open nowhere.csv" nowhere.csv)
rejects("cannot open nowhere/w.pt for writing" --weights nowhere/w.pt)
