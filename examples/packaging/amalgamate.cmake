# Writes all headers of the library but interop/ into one file:
#
#   cmake -D SOURCE_DIR=<the repository> -D OUT=diffusion.hpp -P amalgamate.cmake
#
# An include of a header of the library becomes the text of that header, the first time, and nothing later. Includes of other
# headers stay.
cmake_minimum_required(VERSION 3.21)
set(include ${SOURCE_DIR}/include/diffusion)
file(STRINGS ${include}/version.hpp version REGEX "#define DIFFUSION_VERSION_")
string(REGEX MATCHALL "[0-9]+" version "${version}")
list(JOIN version "." version)
file(READ ${SOURCE_DIR}/LICENSE license)
string(REGEX REPLACE "\n$" "" license "${license}")
string(REPLACE "\n" "\n// " license "${license}")
file(WRITE ${OUT}
  "// diffusion ${version} in one header, made by examples/packaging/amalgamate.cmake.\n"
  "//\n"
  "// ${license}\n"
  "#pragma once\n")

# Appends the text of a header to OUT, after those of the headers that it includes.
function(append_header header)
  get_property(done GLOBAL PROPERTY amalgamated)
  if(header IN_LIST done)
    return()
  endif()
  set_property(GLOBAL APPEND PROPERTY amalgamated ${header})
  cmake_path(GET header PARENT_PATH folder)
  file(READ ${header} text)
  string(REPLACE "#pragma once\n" "" text "${text}")
  string(PREPEND text "\n")
  string(FIND "${text}" "\n#include \"" at)
  while(NOT at EQUAL -1)
    string(SUBSTRING "${text}" 0 ${at} before)
    math(EXPR at "${at} + 11")  # after the quotation mark
    string(SUBSTRING "${text}" ${at} -1 text)
    string(FIND "${text}" "\"" length)
    string(SUBSTRING "${text}" 0 ${length} name)
    string(FIND "${text}" "\n" end)
    string(SUBSTRING "${text}" ${end} -1 text)
    file(APPEND ${OUT} "${before}\n")
    cmake_path(SET included NORMALIZE "${folder}/${name}")
    append_header(${included})
    string(FIND "${text}" "\n#include \"" at)
  endwhile()
  file(APPEND ${OUT} "${text}")
endfunction()

append_header(${include}/diffusion.hpp)
