// Numbers and vectors of them in registers. Their width follows the processor that this is compiled on.
//
// Everything in these files is local to the file that includes them, so that the compiler inlines what is called once.
#pragma once

#include <cstdint>
#include <type_traits>

namespace {

#ifdef __AVX512F__
constexpr int kVectorBytes = 64;
#else
constexpr int kVectorBytes = 32;
#endif
constexpr int kTileVectors = 2;  // vectors that are at work side by side

template <typename T>
constexpr int kWidth = kVectorBytes / sizeof(T);
template <typename T>
constexpr int kPanel = kTileVectors * kWidth<T>;

// The upper half of a float, rounded to the nearest, ties to even.
struct BFloat16 {
  uint16_t bits;

  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t whole = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
    bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
  }
  operator float() const { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }
};

// What numbers that are stored as S are computed with as.
template <typename S>
using Computed = std::conditional_t<std::is_same_v<S, BFloat16>, float, S>;

// Vectors in registers, and the same in memory of any alignment.
template <typename T>
struct Simd {
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  typedef T Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};
template <>
struct Simd<BFloat16> {
  typedef uint16_t Half __attribute__((vector_size(kVectorBytes / 2)));
  typedef uint16_t Unaligned __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
  typedef uint32_t Whole __attribute__((vector_size(kVectorBytes)));
};
template <typename T>
using Vector = typename Simd<T>::Vector;

template <typename T>
inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename Simd<T>::Unaligned*>(from);
}
inline Vector<float> load(const BFloat16* from) {
  const auto bits = *reinterpret_cast<const Simd<BFloat16>::Unaligned*>(from);
  return (Vector<float>)(__builtin_convertvector(bits, Simd<BFloat16>::Whole) << 16);
}
template <typename T>
inline void store(T* to, Vector<T> value) {
  *reinterpret_cast<typename Simd<T>::Unaligned*>(to) = value;
}

#ifdef __AVX512BF16__
// In assembly, because the header of intrinsics takes longer to read than all of these files.
inline Simd<BFloat16>::Half rounded(Vector<float> value) {
  Simd<BFloat16>::Half bits;
  asm("vcvtneps2bf16 %1, %0" : "=v"(bits) : "v"(value));
  return bits;
}
#else
inline Simd<BFloat16>::Half rounded(Vector<float> value) {
  const auto whole = (Simd<BFloat16>::Whole)value;
  const Simd<BFloat16>::Whole not_a_number = (Simd<BFloat16>::Whole)(value != value);
  const Simd<BFloat16>::Whole nearest = (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
  const Simd<BFloat16>::Whole bits = (not_a_number & 0x7fc0) | (~not_a_number & nearest);
  return __builtin_convertvector(bits, Simd<BFloat16>::Half);
}
#endif
inline void store(BFloat16* to, Vector<float> value) {
  *reinterpret_cast<Simd<BFloat16>::Unaligned*>(to) = rounded(value);
}
// The bits of numbers in bfloat16, each in the lower half of a whole one.
inline Simd<BFloat16>::Whole upper_half(Vector<float> value) {
  return __builtin_convertvector(rounded(value), Simd<BFloat16>::Whole);
}

template <int N>
using Constant = std::integral_constant<int, N>;

// `Vectors` vectors of adjacent numbers, computed with as T however they are stored; with 0 a single number.
template <typename T, int Vectors>
struct Lanes {
  static constexpr int kCount = Vectors > 0 ? Vectors : 1;
  static constexpr int kStep = Vectors > 0 ? kWidth<T> : 1;
  using Lane = std::conditional_t<(Vectors > 0), Vector<T>, T>;

  Lane value[kCount];

  template <typename S>
  static Lanes from(const S* place) {
    Lanes lanes;
#pragma GCC unroll 2
    for (int j = 0; j < kCount; ++j) {
      if constexpr (Vectors > 0)
        lanes.value[j] = load(place + j * kStep);
      else
        lanes.value[j] = static_cast<T>(*place);
    }
    return lanes;
  }
  template <typename S>
  void to(S* place) const {
#pragma GCC unroll 2
    for (int j = 0; j < kCount; ++j) {
      if constexpr (Vectors > 0)
        store(place + j * kStep, value[j]);
      else
        *place = static_cast<S>(value[j]);
    }
  }
};

// Call f(first, vectors) for stretches of numbers: whole vectors, then single numbers. f makes Lanes of them.
// Called out of line, a loop would read all that f captures from memory again at each step.
template <typename T, int Vectors, typename F>
__attribute__((always_inline)) inline void for_lanes(int64_t count, const F& f) {
  int64_t first = 0;
  if constexpr (Vectors > 1)
    for (; first + Vectors * kWidth<T> <= count; first += Vectors * kWidth<T>) f(first, Constant<Vectors>{});
  for (; first + kWidth<T> <= count; first += kWidth<T>) f(first, Constant<1>{});
  for (; first < count; ++first) f(first, Constant<0>{});
}

template <typename From, typename To>
void convert(const From* from, To* to, int64_t count) {
  using T = Computed<From>;
  for_lanes<T, 1>(count, [&](int64_t i, auto vectors) { Lanes<T, vectors()>::from(from + i).to(to + i); });
}

}  // namespace
