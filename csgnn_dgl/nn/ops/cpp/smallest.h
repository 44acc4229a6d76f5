// The places of the smallest numbers of each row: the nearest of many points.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "arguments.h"
#include "blocks.h"

namespace {

// A number and its place, in one integer whose order is theirs; NaN comes last.
struct KeyOf64 {
  uint64_t number;
  int64_t place;
  bool operator<(const KeyOf64& other) const {
    return number != other.number ? number < other.number : place < other.place;
  }
};
template <typename T>
using Key = std::conditional_t<sizeof(T) == 4, uint64_t, KeyOf64>;

template <typename T>
inline Key<T> key(T value, int64_t place) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr Bits kSign = Bits(1) << (8 * sizeof(T) - 1);
  value = value + T(0);  // one zero only
  Bits bits;
  std::memcpy(&bits, &value, sizeof(T));
  bits = value != value ? ~Bits(0) : (bits & kSign) ? ~bits : bits | kSign;
  if constexpr (sizeof(T) == 4)
    return (static_cast<uint64_t>(bits) << 32) | static_cast<uint64_t>(place);
  else
    return {bits, place};
}

template <typename T>
inline int64_t place_of(const Key<T>& key) {
  if constexpr (sizeof(T) == 4)
    return static_cast<int64_t>(key & 0xffffffffu);
  else
    return key.place;
}

constexpr int64_t kSample = 32;  // numbers of a row that tell about where the wanted ones end

// Leave in `kept` the keys that may be among the `count` smallest of the row, at least as many; return their number.
template <typename T>
int64_t candidates(const std::vector<Key<T>>& keys, int64_t count, std::vector<Key<T>>& kept) {
  const int64_t length = static_cast<int64_t>(keys.size()), last = count * kSample / length + 3;
  if (length >= 4 * kSample && last < kSample) {
    Key<T> sample[kSample];
    for (int64_t i = 0; i < kSample; ++i) sample[i] = keys[i * length / kSample];
    std::nth_element(sample, sample + last, sample + kSample);
    const Key<T> limit = sample[last];
    int64_t number = 0;
    for (int64_t i = 0; i < length; ++i) {
      kept[number] = keys[i];
      number += keys[i] < limit;
    }
    if (number >= count) return number;
  }
  std::copy(keys.begin(), keys.end(), kept.begin());
  return length;
}

template <typename S, typename T = Computed<S>>
bool smallest(const Smallest<S>& given) {
  const Smallest<S> a = given;
  if (a.count < 1 || a.count > a.length || a.length > INT32_MAX) return false;
#pragma omp parallel firstprivate(a)
  {
    std::vector<T> row(a.length);
    std::vector<Key<T>> keys(a.length), kept(a.length + 1);
#pragma omp for schedule(static)
    for (int64_t r = 0; r < a.rows; ++r) {
      convert(a.features + r * a.length, row.data(), a.length);
#pragma omp simd
      for (int64_t i = 0; i < a.length; ++i) keys[i] = key(row[i], i);
      const int64_t number = candidates<T>(keys, a.count, kept);
      if (a.count < number) std::nth_element(kept.begin(), kept.begin() + a.count, kept.begin() + number);
      std::sort(kept.begin(), kept.begin() + a.count);
      for (int64_t i = 0; i < a.count; ++i) a.result[r * a.count + i] = place_of<T>(kept[i]);
    }
  }
  return true;
}

}  // namespace
