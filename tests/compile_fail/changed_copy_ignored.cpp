// error: ignoring return value of
#include <diffusion/diffusion.hpp>
#pragma GCC diagnostic error "-Wunused-result"
int main() { diffusion::flow_matching_grid(4).starting_at(1); }
