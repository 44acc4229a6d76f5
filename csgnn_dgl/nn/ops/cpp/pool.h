// Maxima over the sources of each target, and over all nodes.
#pragma once

#include "arguments.h"
#include "blocks.h"

namespace {

template <typename T>
using Place = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
constexpr int64_t kPoolLength = 256;  // a stretch of a row whose maxima and their places stay in the nearest cache
template <typename X>
using Stretch = X[kPoolLength];
constexpr int64_t kMaxPlaces = 256;   // places are stored in a byte

// Each thread below has a copy of the arguments: their fields stay in registers beside what is written.

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

// Keep the larger of `best` and a row's numbers, and in `won` the place of the row. A NaN wins.
template <typename S, typename T>
inline void keep_larger(const S* row, Place<T> place, int64_t size, Stretch<T>& best, Stretch<Place<T>>& won,
                        Stretch<T>& buffer) {
  const T* from = near(row, buffer, size);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    const T value = from[i];
    const bool larger = (value > best[i]) | (value != value);
    won[i] = larger ? place : won[i];
    best[i] = larger ? value : best[i];
  }
}

template <typename S, typename T = Computed<S>>
bool max_forward(const MaxForward<S>& given) {
  const MaxForward<S> a = given;
  const Edges edges{a.sources, a.offsets, a.edges, a.source_count};
  bool fine = true;
#pragma omp parallel for schedule(static) firstprivate(a) reduction(&& : fine)
  for (int64_t target = 0; target < a.target_count; ++target) {
    const int64_t degree = edges.degree(target);
    if (!edges.fine(target) || degree < 1 || degree > kMaxPlaces) {
      fine = false;
      continue;
    }
    const int32_t* read = edges.of(target);
    for (int64_t first = 0; first < a.length; first += kPoolLength) {
      const int64_t size = std::min(kPoolLength, a.length - first), offset = target * a.length + first;
      Stretch<T> best, buffer;
      Stretch<Place<T>> won = {};
      convert(a.features + read[0] * a.length + first, best, size);
      for (int64_t place = 1; place < degree; ++place)
        keep_larger(a.features + read[place] * a.length + first, static_cast<Place<T>>(place), size, best, won, buffer);
      convert(best, a.result + offset, size);
      if (a.wants_winners) std::copy_n(won, size, a.winners + offset);
    }
  }
  return fine;
}

template <typename S, typename T = Computed<S>>
bool max_backward(const MaxBackward<S>& given) {
  const MaxBackward<S> a = given;
  const Edges edges{a.targets, a.offsets, a.edges, a.target_count};
  bool fine = true;
#pragma omp parallel for schedule(static) firstprivate(a) reduction(&& : fine)
  for (int64_t source = 0; source < a.source_count; ++source) {
    if (!edges.fine(source)) {
      fine = false;
      continue;
    }
    for (int64_t first = 0; first < a.length; first += kPoolLength) {
      const int64_t size = std::min(kPoolLength, a.length - first);
      Stretch<T> sum = {}, buffer;
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

template <typename S, typename T = Computed<S>>
bool overall_max(const OverallMax<S>& given) {
  const OverallMax<S> a = given;
#pragma omp parallel for schedule(static) firstprivate(a)
  for (int64_t first = 0; first < a.length; first += kPoolLength) {
    const int64_t size = std::min(kPoolLength, a.length - first);
    Stretch<T> best, buffer;
    Stretch<Place<T>> won = {};
    convert(a.features + first, best, size);
    for (int64_t row = 1; row < a.rows; ++row)
      keep_larger(a.features + row * a.length + first, static_cast<Place<T>>(row), size, best, won, buffer);
    convert(best, a.result + first, size);
    std::copy_n(won, size, a.winners + first);
  }
  return true;
}

}  // namespace
