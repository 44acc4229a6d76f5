"""The layers as operators on tensors, with kernels in C++ for the CPU."""
