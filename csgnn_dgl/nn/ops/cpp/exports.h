// The kernels under names of C, each for one type of features.
#pragma once

#include <new>

#include "intra.h"
#include "pool.h"
#include "radial.h"
#include "smallest.h"

namespace {

// What a kernel answers: 0 if all went well.
enum Answer { kDone = 0, kBadEdges = 1, kNoMemory = 2 };

template <typename Arguments>
int answer(bool (*kernel)(const Arguments&), const Arguments& arguments, int threads) {
  // OpenMP keeps the number of threads for each thread that calls it.
  omp_set_num_threads(threads);
  try {
    return kernel(arguments) ? kDone : kBadEdges;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace

#define CSGNN_KERNEL(kernel, Arguments, S, name)                                                         \
  extern "C" int kernel##_##name(const Arguments<S>& a, int threads) { return answer(kernel<S>, a, threads); } \
  extern "C" int64_t kernel##_##name##_bytes() { return sizeof(Arguments<S>); }

// Convolutions, whose products may be made in several ways.
#define CSGNN_CONVOLUTIONS(S, name)                      \
  CSGNN_KERNEL(intra_forward, IntraForward, S, name)    \
  CSGNN_KERNEL(intra_backward, IntraBackward, S, name)  \
  CSGNN_KERNEL(radial_forward, RadialForward, S, name)  \
  CSGNN_KERNEL(radial_backward, RadialBackward, S, name)

#define CSGNN_KERNELS(S, name)                          \
  CSGNN_CONVOLUTIONS(S, name)                           \
  CSGNN_KERNEL(norm_forward, NormForward, S, name)      \
  CSGNN_KERNEL(norm_sums, NormSums, S, name)            \
  CSGNN_KERNEL(norm_backward, NormBackward, S, name)    \
  CSGNN_KERNEL(max_forward, MaxForward, S, name)        \
  CSGNN_KERNEL(max_backward, MaxBackward, S, name)      \
  CSGNN_KERNEL(overall_max, OverallMax, S, name)        \
  CSGNN_KERNEL(smallest, Smallest, S, name)
