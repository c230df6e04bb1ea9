# Functions for the scripts of this folder, which run the program EXAMPLE in WORK_DIR with valid and with invalid arguments.
cmake_path(GET EXAMPLE STEM name)
file(REMOVE_RECURSE ${WORK_DIR})
file(MAKE_DIRECTORY ${WORK_DIR})

macro(run)
  execute_process(COMMAND ${EXAMPLE} ${ARGN} WORKING_DIRECTORY ${WORK_DIR}
                  RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
  list(JOIN ARGN " " arguments)
  set(what_happened "${name} ${arguments}\nexit code ${code}\n${out}\n${err}")
endmacro()

# accepts(pattern [argument...]): the exit code must be 0, standard error empty, and standard output match the pattern.
function(accepts pattern)
  run(${ARGN})
  if(NOT code EQUAL 0 OR NOT err STREQUAL "" OR NOT out MATCHES "${pattern}")
    message(FATAL_ERROR "Expected exit code 0 and output like ${pattern}:\n${what_happened}")
  endif()
endfunction()

# refuses(pattern [argument...]): the exit code must be 1, and standard error one line that matches the pattern.
function(refuses pattern)
  run(${ARGN})
  if(NOT code EQUAL 1 OR NOT err MATCHES "^${name}: [^\n]+\n$" OR NOT err MATCHES "${pattern}")
    message(FATAL_ERROR "Expected exit code 1 and one error line like ${pattern}:\n${what_happened}")
  endif()
endfunction()

# is_png(file [width height]): the file must be a PNG image, of this size if given.
function(is_png file)
  file(READ ${WORK_DIR}/${file} head LIMIT 24 HEX)
  if(NOT head MATCHES "^89504e470d0a1a0a........49484452(........)(........)$")
    message(FATAL_ERROR "${file} is not a PNG file; it begins with ${head}")
  endif()
  math(EXPR width "0x${CMAKE_MATCH_1}")
  math(EXPR height "0x${CMAKE_MATCH_2}")
  if(ARGN AND NOT ARGN STREQUAL "${width};${height}")
    message(FATAL_ERROR "${file} is ${width}x${height} pixels, not ${ARGN}")
  endif()
endfunction()
