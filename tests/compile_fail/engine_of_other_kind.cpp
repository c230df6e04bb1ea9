// error: diffusion: the engine of EngineNoise must be a uniform random bit generator, such as std::mt19937
#include <diffusion/diffusion.hpp>

int main() { diffusion::EngineNoise<int> noise(5); }
