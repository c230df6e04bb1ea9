// A user's program that includes one header of the library and, through it, Eigen. It exits with 0
// if the last beta of the cosine schedule is its maximum.
#include <diffusion/process/schedules.hpp>

int main() { return diffusion::cosine_beta_schedule(1000)[999] == 0.999 ? 0 : 1; }
