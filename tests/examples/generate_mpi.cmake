# Further variables: MPIRUN, the mpirun of the MPI that the program was built with; WITH_NUMPY, a Python that has NumPy, or "".
include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)
set(program ${EXAMPLE})

# on(k): lets the following runs use k processes.
macro(on k)
  set(EXAMPLE ${MPIRUN} -n ${k} ${program})
endmacro()

# same_bytes(file...): the files must be equal.
function(same_bytes first)
  file(SHA256 ${WORK_DIR}/${first} expected)
  foreach(file IN LISTS ARGN)
    file(SHA256 ${WORK_DIR}/${file} found)
    if(NOT found STREQUAL expected)
      message(FATAL_ERROR "${file} differs from ${first}")
    endif()
  endforeach()
endfunction()

# The same bytes for every number of processes and every batch size.
set(processes 1 2 3 5)
set(batches   5 64 7 3)
on(1)
accepts("alone.npy has 0 of 37 samples; processes: 1.*Wrote 37 samples to alone.npy" --count 37 --out alone.npy)
foreach(k batch IN ZIP_LISTS processes batches)
  on(${k})
  accepts("processes: ${k}.*Wrote 37 samples" --count 37 --batch ${batch} --out ${k}_${batch}.npy)
  same_bytes(alone.npy ${k}_${batch}.npy)
  same_bytes(alone.npy.progress ${k}_${batch}.npy.progress)
endforeach()
on(2)
accepts("Wrote 37 samples" --count 37 --seed 2 --out other_seed.npy)
file(SHA256 ${WORK_DIR}/alone.npy one)
file(SHA256 ${WORK_DIR}/other_seed.npy two)
if(one STREQUAL two)
  message(FATAL_ERROR "Two seeds have the same samples")
endif()
# The adaptive sampler makes one sample at a time.
foreach(k IN ITEMS 1 3)
  on(${k})
  accepts("one sample at a time.*Wrote 5 samples" --count 5 --sampler dpm_adaptive --out adaptive_${k}.npy)
endforeach()
same_bytes(adaptive_1.npy adaptive_3.npy)

# NumPy reads the file.
file(READ ${WORK_DIR}/alone.npy head LIMIT 10 HEX)
file(SIZE ${WORK_DIR}/alone.npy size)
math(EXPR expected "128 + 37 * 64 * 4")
if(NOT head STREQUAL "934e554d505901007600" OR NOT size EQUAL expected)
  message(FATAL_ERROR "alone.npy has ${size} bytes and begins with ${head}")
endif()
if(WITH_NUMPY)
  execute_process(COMMAND ${WITH_NUMPY} -c "
import numpy
x = numpy.load('alone.npy')
assert x.shape == (37, 1, 8, 8) and x.dtype == numpy.float32 and numpy.abs(x).max() <= 1.0001, (x.shape, x.dtype)
assert 0.5 < numpy.abs(x).mean() < 1, numpy.abs(x).mean()
" WORKING_DIRECTORY ${WORK_DIR} COMMAND_ERROR_IS_FATAL ANY)
else()
  message("The file was not read by NumPy, because python3 has none; on Debian: apt-get install python3-numpy")
endif()

# A complete file is left alone; another number of samples is refused.
on(3)
accepts("alone.npy has 37 of 37 samples.*Wrote 0 samples" --count 37 --out alone.npy)

# A process is killed in the middle; the rest is made by another number of processes.
set(options --count 1500 --batch 8 --out killed.npy)
file(WRITE ${WORK_DIR}/kill.sh [[
"$@" > killed.txt 2>&1 &
job=$!
while ! [ -s killed.npy ] || [ "$(tr -d '\0' < killed.npy.progress | wc -c)" -lt 1000 ]; do
  kill -0 $job || exit 2  # it ended too early
  sleep 0.02
done
for command in $(grep -lzxF -- "$PROGRAM" /proc/[0-9]*/cmdline 2> list_errors.txt); do
  process=${command#/proc/}
  process=${process%/cmdline}
  # mpirun itself also has the program among its arguments
  if [ "$(head -z -n 1 "$command" | tr -d '\0')" = "$PROGRAM" ]; then
    kill -KILL $process
    break
  fi
done
wait $job
]])
execute_process(COMMAND ${CMAKE_COMMAND} -E env PROGRAM=${program} sh kill.sh ${MPIRUN} -n 3 ${program} ${options}
                WORKING_DIRECTORY ${WORK_DIR} RESULT_VARIABLE code)
if(code EQUAL 0 OR code EQUAL 2)
  message(FATAL_ERROR "The job was not killed in the middle: exit code ${code}")
endif()
on(2)
run(${options})
string(REGEX MATCH "killed.npy has ([0-9]+) of 1500 samples; processes: 2\n(.*\n)?Wrote ([0-9]+) samples" found "${out}")
set(had ${CMAKE_MATCH_1})
math(EXPR sum "0${CMAKE_MATCH_1} + 0${CMAKE_MATCH_3}")
if(NOT code EQUAL 0 OR NOT sum EQUAL 1500 OR had LESS 100)
  message(FATAL_ERROR "Expected the missing samples to be made:\n${what_happened}")
endif()
on(1)
accepts("Wrote 1500 samples" --count 1500 --out whole.npy)
same_bytes(whole.npy killed.npy)
same_bytes(whole.npy.progress killed.npy.progress)

# A sample that was damaged is made again.
execute_process(COMMAND sh -c "printf x | dd of=killed.npy bs=1 seek=5000 conv=notrunc" WORKING_DIRECTORY ${WORK_DIR}
                OUTPUT_QUIET ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
accepts("killed.npy has 1499 of 1500 samples.*Wrote 1 samples" ${options})
same_bytes(whole.npy killed.npy)

# rejects(pattern [argument...]): like refuses(), but mpirun may add lines of its own.
function(rejects pattern)
  run(${ARGN})
  if(NOT code EQUAL 1 OR NOT err MATCHES "generate_mpi: [^\n]*${pattern}" OR err MATCHES "generate_mpi: .*generate_mpi: ")
    message(FATAL_ERROR "Expected exit code 1 and one error line like ${pattern}:\n${what_happened}")
  endif()
endfunction()
on(3)
rejects("alone.npy was begun with --count 37 .* not with --count 38 .*; remove alone.npy" --count 38 --out alone.npy)
rejects("cannot create nowhere/x.npy.progress: No such file" --out nowhere/x.npy)
rejects("cannot create big.npy: it needs [0-9]+ bytes, and the disk has" --count 1000000000 --sampler ddim --out big.npy)
rejects("cannot open nowhere.csv" nowhere.csv)
rejects("--count: Value 0 not in range" --count 0)
rejects("--sampler: no_such_sampler not in" --sampler no_such_sampler)
execute_process(COMMAND sh -c "head -c 500 alone.npy > short.npy; cp alone.npy.progress short.npy.progress"
                WORKING_DIRECTORY ${WORK_DIR} COMMAND_ERROR_IS_FATAL ANY)
rejects("short.npy has 500 bytes instead of ${size}; remove short.npy" --count 37 --out short.npy)
file(COPY_FILE ${WORK_DIR}/alone.npy ${WORK_DIR}/short.npy)
file(COPY_FILE ${WORK_DIR}/alone.npy.progress ${WORK_DIR}/short.npy.progress)
execute_process(COMMAND sh -c "printf x | dd of=short.npy bs=1 seek=20 conv=notrunc" WORKING_DIRECTORY ${WORK_DIR}
                OUTPUT_QUIET ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
rejects("short.npy does not begin with the header" --count 37 --out short.npy)
execute_process(COMMAND sh -c "head -c 382 /dev/zero > short.npy.progress" WORKING_DIRECTORY ${WORK_DIR}
                COMMAND_ERROR_IS_FATAL ANY)
rejects("short.npy.progress is missing or damaged" --count 37 --out short.npy)
file(REMOVE ${WORK_DIR}/short.npy.progress)
rejects("short.npy.progress is missing or damaged" --count 37 --out short.npy)
file(MAKE_DIRECTORY ${WORK_DIR}/folder)
rejects("cannot write folder: it is a directory" --out folder)
file(REMOVE ${WORK_DIR}/short.npy)
accepts("Wrote 37 samples" --count 37 --out short.npy)

# Every process has the exit code 1.
file(WRITE ${WORK_DIR}/code.sh "\"$@\" --count 38 --out alone.npy\necho code $?\n")
execute_process(COMMAND ${MPIRUN} -n 3 sh code.sh ${program} WORKING_DIRECTORY ${WORK_DIR} OUTPUT_VARIABLE out ERROR_VARIABLE err)
string(REGEX MATCHALL "code [0-9]+" codes "${out}")
if(NOT codes STREQUAL "code 1;code 1;code 1")
  message(FATAL_ERROR "Expected the exit code 1 on all processes: ${out} ${err}")
endif()

# Where users may mount file systems: a disk that is full from the start, one that fills up while the job runs, and a folder that
# one of the processes does not see.
execute_process(COMMAND unshare -rm sh -c "mkdir -p small && mount -t tmpfs -o size=64k tmpfs small" WORKING_DIRECTORY ${WORK_DIR}
                RESULT_VARIABLE code OUTPUT_QUIET ERROR_QUIET)
if(NOT code EQUAL 0)
  message("Full disks were not tried, because this system does not let users mount a file system")
  return()
endif()
file(WRITE ${WORK_DIR}/full.sh [[
mount -t tmpfs -o size=64k tmpfs small
"$@" --count 1000 --out small/x.npy > full.txt 2>&1
[ $? -eq 1 ] || exit 2
grep -q "^generate_mpi: cannot create small/x.npy: it needs 264[0-9]* bytes, and the disk has" full.txt || exit 3
umount small
mount -t tmpfs -o size=600k tmpfs small
"$@" --count 2000 --steps 60 --out small/x.npy > filled.txt 2>&1 &
job=$!
while ! [ -s small/x.npy ]; do sleep 0.02; done
head -c 600000 /dev/zero > small/other 2> list_errors.txt
wait $job
[ $? -eq 1 ] || exit 4
[ "$(grep -c "^generate_mpi: " filled.txt)" -eq 1 ] || exit 5
rm small/other
"$@" --count 2000 --steps 60 --out small/x.npy > resumed.txt 2>&1 || exit 6
cp small/x.npy resumed.npy
]])
execute_process(COMMAND unshare -rm sh full.sh ${EXAMPLE} WORKING_DIRECTORY ${WORK_DIR} RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "Expected a full disk to be an error, and the job to be completed when there is room: ${code}")
endif()
accepts("Wrote 2000 samples" --count 2000 --steps 60 --out undisturbed.npy)
same_bytes(undisturbed.npy resumed.npy)

execute_process(COMMAND unshare -m true RESULT_VARIABLE code OUTPUT_QUIET ERROR_QUIET)
if(NOT code EQUAL 0)
  message("A folder that one process does not see was not tried, because this user may not make one")
  return()
endif()
file(WRITE ${WORK_DIR}/elsewhere.sh "mount -t tmpfs tmpfs small && exec \"$@\"")
execute_process(COMMAND ${MPIRUN} -n 1 ${program} --out small/x.npy : -n 1 unshare -m sh elsewhere.sh ${program} --out small/x.npy
                WORKING_DIRECTORY ${WORK_DIR} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err TIMEOUT 60)
if(NOT code EQUAL 1 OR NOT err MATCHES "generate_mpi: rank 1: cannot open small/x.npy; all processes must see the same folder")
  message(FATAL_ERROR "Expected a folder that is not shared to be an error: ${code} ${out} ${err}")
endif()
