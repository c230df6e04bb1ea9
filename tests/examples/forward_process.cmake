include(${CMAKE_CURRENT_LIST_DIR}/run_example.cmake)

# The bundled picture. The pattern checks the table's row for cosine at t = 999: abar is 2e-9 and the posterior variance 0.999.
accepts("cosine, T = 1000\n.* 999 +0.00004[0-9] +1.000000 .* 9.99e-01.*Wrote the film strip to forward_process.png")
is_png(forward_process.png)

# A picture given by the user (here the film strip from above), with every option.
accepts("forward_process.png: .*cosine, T = 50\n.*Wrote the film strip to small.png"
        forward_process.png --schedule cosine --steps 50 --seed 7 --out small.png)
is_png(small.png)
accepts("--schedule.*--steps.*--seed.*--out" --help)

refuses("cannot open nowhere.png" nowhere.png)
refuses("cannot read ${SOURCE_DIR}/CMakeLists.txt" ${SOURCE_DIR}/CMakeLists.txt)
refuses("cannot read [.]" .)
refuses("huge.png: it has 8000x8000 pixels; at most 33554432 are read" ${SOURCE_DIR}/tests/examples/huge.png)
# A file of 45 bytes with a chunk that declares 1 GiB.
refuses("cannot read [^\n]*huge_chunk.png as PNG or JPEG: Out of memory" ${SOURCE_DIR}/tests/examples/huge_chunk.png)
# A file of 16 bytes with a Huffman table that declares more codes than there are.
refuses("cannot read [^\n]*huffman.jpg as JPEG: a Huffman table has more than 256 codes" ${SOURCE_DIR}/tests/examples/huffman.jpg)
refuses("cannot open nowhere/out.png" --out nowhere/out.png)
refuses("--no-such-option" --no-such-option)
refuses("squaredcos_cap_v2" --schedule no-such-schedule)
refuses("--steps" --steps 0)
refuses("--steps" --steps many)
refuses("num_timesteps = 5" --schedule linear --steps 5)
