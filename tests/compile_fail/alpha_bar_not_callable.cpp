// error: diffusion: alpha_bar must be callable with a double and return a double
#include <diffusion/diffusion.hpp>

int main() { diffusion::betas_for_alpha_bar(1000, 0.5); }
