// Maxima over the sources of each target, and over all nodes.
#pragma once

#include "arguments.h"
#include "blocks.h"

namespace {

template <typename T>
using Place = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
constexpr int64_t kPoolLength = 256;  // a stretch of a row whose maxima and their places stay in the nearest cache
constexpr int64_t kMaxPlaces = 256;   // places are stored in a byte

// Numbers as they are computed with: in their place, or converted into a buffer.
template <typename S, typename T>
const T* near(const S* from, T* buffer, int64_t count) {
  if constexpr (std::is_same_v<S, T>) {
    return from;
  } else {
    convert(from, buffer, count);
    return buffer;
  }
}

// The largest of the rows that are read one after the other, and where it was. A NaN wins.
template <typename S, typename T = Computed<S>>
struct Largest {
  int64_t size;
  T best[kPoolLength], buffer[kPoolLength];
  Place<T> won[kPoolLength] = {};

  Largest(const S* first, int64_t size) : size(size) { convert(first, best, size); }
  void add(const S* row, Place<T> place) {
    const T* from = near(row, buffer, size);
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
      const T value = from[i];
      const bool larger = (value > best[i]) | (value != value);
      won[i] = larger ? place : won[i];
      best[i] = larger ? value : best[i];
    }
  }
};

template <typename S>
bool max_forward(const MaxForward<S>& a) {
  const Edges edges{a.sources, a.offsets, a.edges, a.source_count};
  bool fine = true;
#pragma omp parallel for schedule(static) reduction(&& : fine)
  for (int64_t target = 0; target < a.target_count; ++target) {
    if (!edges.fine(target) || edges.degree(target) < 1 || edges.degree(target) > kMaxPlaces) {
      fine = false;
      continue;
    }
    const int32_t* read = edges.of(target);
    for (int64_t first = 0; first < a.length; first += kPoolLength) {
      Largest<S> largest(a.features + read[0] * a.length + first, std::min(kPoolLength, a.length - first));
      for (int64_t place = 1; place < edges.degree(target); ++place)
        largest.add(a.features + read[place] * a.length + first, place);
      const int64_t offset = target * a.length + first;
      convert(largest.best, a.result + offset, largest.size);
      if (a.wants_winners) std::copy_n(largest.won, largest.size, a.winners + offset);
    }
  }
  return fine;
}

template <typename S, typename T = Computed<S>>
bool max_backward(const MaxBackward<S>& a) {
  const Edges edges{a.targets, a.offsets, a.edges, a.target_count};
  bool fine = true;
#pragma omp parallel for schedule(static) reduction(&& : fine)
  for (int64_t source = 0; source < a.source_count; ++source) {
    if (!edges.fine(source)) {
      fine = false;
      continue;
    }
    for (int64_t first = 0; first < a.length; first += kPoolLength) {
      const int64_t size = std::min(kPoolLength, a.length - first);
      T sum[kPoolLength] = {}, buffer[kPoolLength];
      for (int64_t e = a.offsets[source]; e < a.offsets[source + 1]; ++e) {
        const int64_t offset = a.targets[e] * a.length + first;
        const T* from = near(a.gradient + offset, buffer, size);
        const uint8_t *won = a.winners + offset, place = a.places[e];
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) sum[i] += won[i] == place ? from[i] : T(0);
      }
      convert(sum, a.features_gradient + source * a.length + first, size);
    }
  }
  return fine;
}

template <typename S>
bool overall_max(const OverallMax<S>& a) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < a.length; first += kPoolLength) {
    Largest<S> largest(a.features + first, std::min(kPoolLength, a.length - first));
    for (int64_t row = 1; row < a.rows; ++row) largest.add(a.features + row * a.length + first, row);
    convert(largest.best, a.result + first, largest.size);
    std::copy_n(largest.won, largest.size, a.winners + first);
  }
  return true;
}

}  // namespace
