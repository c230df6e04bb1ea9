// The compile cost of every program that uses Eigen's tensors.
#include <unsupported/Eigen/CXX11/Tensor>

int main() {}
