# Prints the number of instructions per call of each function in `Calls` of small_work.cpp, counted by callgrind:
#     cmake -Dvalgrind=... -Dannotate=... -Dprogram=<benchmark_small_work> -P instructions.cmake
set(calls 100)
set(counts ${CMAKE_CURRENT_BINARY_DIR}/benchmark_instructions.out)
execute_process(COMMAND ${valgrind} --tool=callgrind --callgrind-out-file=${counts}
                        "--toggle-collect=Calls<?>::*(Trajectory<?>&)" ${program} ${calls}
                OUTPUT_QUIET ERROR_VARIABLE errors RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "${errors}\nvalgrind did not run ${program} to its end; it does not support AVX-512, which -march=native may use")
endif()
execute_process(COMMAND ${annotate} --inclusive=yes --threshold=100 ${counts} OUTPUT_VARIABLE table
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[0-9,]+ [^\n]*:Calls<[01]>::[a-z_]+\\(Trajectory" lines "${table}")
list(TRANSFORM lines REPLACE "^([0-9,]+) .*Calls<([01])>::([a-z_]+).*" "\\3 \\2 \\1")
list(SORT lines)
foreach(line IN LISTS lines)
  string(REGEX MATCH "^([a-z_]+) ([01]) (.*)" line "${line}")
  set(name ${CMAKE_MATCH_1})
  set(of ${calls})
  if(name STREQUAL "flat")
    math(EXPR of "4 * ${calls}")  # called once for each of the four others
  endif()
  set(layout "ColMajor")
  if(CMAKE_MATCH_2)
    set(layout "RowMajor")
  endif()
  string(REPLACE "," "" count "${CMAKE_MATCH_3}")
  math(EXPR count "${count} / ${of}")
  message("${name}, ${layout}: ${count} instructions")
endforeach()
