// What every program that uses Eigen's tensors pays.
#include <unsupported/Eigen/CXX11/Tensor>

int main() {}
