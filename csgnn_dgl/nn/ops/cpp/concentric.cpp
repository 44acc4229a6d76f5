// Convolutions on concentric spheres with what surrounds them: the statistics of batch norm, batch norm with ReLU and
// residual, their gradients, and maximum pooling.
//
// Everything is row-major. A grid (R, V, B, C) has R*V nodes, each of B rows of C channels. Work is cut into blocks of
// nodes that stay in the second-level cache; threads take blocks in a fixed order, and partial sums are added in a fixed
// order, so the same number of threads gives the same bits again. No sum is accumulated by atomics.
//
// Features are stored as S and computed with as T: (float, float), (double, double), and (bfloat16, float), where
// products and sums have all digits of float and what goes through memory has half its bytes; processors that multiply
// in bfloat16 and add in float do so (`Twin`). Weights, moments and their gradients are of type T. Vector width and registers follow the processor that this is compiled on.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <type_traits>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#include <omp.h>

namespace {

#ifdef __AVX512F__
constexpr int kVectorBytes = 64;
constexpr int kTileRows = 12;  // 12 x 2 sums, 2 operands and a broadcast in 32 registers
#else
constexpr int kVectorBytes = 32;
constexpr int kTileRows = 6;  // 6 x 2 sums, 2 operands and a broadcast in 16 registers
#endif
constexpr int kTileVectors = 2;
constexpr int64_t kBlockBytes = 64 << 10;  // of each operand of a block: a few of them fit into half a megabyte
constexpr int64_t kLeastRows = 96;           // a block's weights are read once for at least so many rows
constexpr int64_t kPairBytes = 32 << 10;     // of each operand, where four spheres of a block are at work
constexpr int64_t kPairDepth = 32;           // products of less depth gain nothing from pairs of spheres
constexpr int kMaxTaps = 64;

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

inline void store(BFloat16* to, Vector<float> value) {
#ifdef __AVX512BF16__
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
  const auto whole = (Simd<BFloat16>::Whole)value;
  const Simd<BFloat16>::Whole not_a_number = (Simd<BFloat16>::Whole)(value != value);
  const Simd<BFloat16>::Whole rounded = (whole + 0x7fff + (whole >> 16 & 1)) >> 16;
  const Simd<BFloat16>::Whole bits = (not_a_number & 0x7fc0) | (~not_a_number & rounded);
  *reinterpret_cast<Simd<BFloat16>::Unaligned*>(to) = __builtin_convertvector(bits, Simd<BFloat16>::Half);
#endif
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
template <typename T, int Vectors, typename F>
void for_lanes(int64_t count, const F& f) {
  int64_t first = 0;
  if constexpr (Vectors > 1)
    for (; first + Vectors * kWidth<T> <= count; first += Vectors * kWidth<T>) f(first, Constant<Vectors>{});
  for (; first + kWidth<T> <= count; first += kWidth<T>) f(first, Constant<1>{});
  for (; first < count; ++first) f(first, Constant<0>{});
}

template <typename S, typename T>
void convert(const S* from, T* to, int64_t count) {
  using Computed = std::conditional_t<std::is_same_v<S, BFloat16>, T, S>;
  for_lanes<Computed, 1>(count, [&](int64_t i, auto vectors) { Lanes<Computed, vectors()>::from(from + i).to(to + i); });
}

// Memory that a thread keeps from call to call, because fresh pages cost as much as arithmetic. It is aligned, has room
// to read a whole panel beyond its end, and its content is whatever was left there.
enum Slot { kPanels, kPartial, kWeights, kSums, kStart, kRead, kWritten, kTwins, kOuterLeft, kOuterRight, kSlots };

template <typename T>
T* workspace(Slot slot, int64_t size) {
  struct Kept {
    void* data = nullptr;
    size_t bytes = 0;
    ~Kept() { std::free(data); }
  };
  thread_local Kept kept[kSlots];
  Kept& memory = kept[slot];
  const size_t bytes = ((size + 2 * kPanel<T>) * sizeof(T) + 63) / 64 * 64;
  if (memory.bytes < bytes) {
    std::free(memory.data);
    memory.data = std::aligned_alloc(64, bytes);
    memory.bytes = bytes;
  }
  return static_cast<T*>(memory.data);
}

// ---------------------------------------------------------------------------------------------- matrix products

// Two bfloat16 numbers, which some processors multiply by two others and add in one instruction.
struct Twin {
  BFloat16 first, second;
};
#ifdef __AVX512BF16__
template <typename S>
constexpr bool kHasTwins = std::is_same_v<S, BFloat16>;
// Twins travel as floats of the same bits, and in assembly, because gcc spills vectors of its own type for them.
inline Vector<float> load(const Twin* from) {
  return *reinterpret_cast<const Simd<float>::Unaligned*>(from);
}
inline Vector<float> factor_of(Twin twin) {
  return (Vector<float>)_mm512_set1_ps(__builtin_bit_cast(float, twin));
}
inline Vector<float> add_multiple(Vector<float> sum, Vector<float> factor, Vector<float> row) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(factor), "v"(row));
  return sum;
}
// Twins of two adjacent rows; without a second one, of the first and zeros.
inline void twin_rows(const float* first, bool second, int64_t columns, Twin* to) {
  int64_t c = 0;
  if (second)
    for (; c + kWidth<float> <= columns; c += kWidth<float>) {
      const __m512 low = (__m512)load(first + c), high = (__m512)load(first + columns + c);
      const __m512i lower = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(low));
      const __m512i upper = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(high));
      _mm512_storeu_si512(to + c, _mm512_or_si512(lower, _mm512_slli_epi32(upper, 16)));
    }
  for (; c < columns; ++c) to[c] = {BFloat16(first[c]), BFloat16(second ? first[columns + c] : 0)};
}
#else
template <typename S>
constexpr bool kHasTwins = false;
#endif
template <typename T>
inline T factor_of(T number) {
  return number;
}
template <typename T>
inline Vector<T> add_multiple(Vector<T> sum, T factor, Vector<T> row) {
  return sum + factor * row;
}

// What the operands of a product are made of for features of type S: `kInOperand` numbers in the direction of its sum.
template <typename S, typename T>
using Operand = std::conditional_t<kHasTwins<S>, Twin, T>;
template <typename S>
constexpr int kInOperand = kHasTwins<S> ? 2 : 1;

// A matrix (depth, columns) cut into panels of columns, each stored row after row (twins: two rows in one) and padded
// with zeros.
template <typename S, typename T>
class Panels {
 public:
  // Element (k, n) is source[k * row_stride + n * column_stride].
  Panels(const T* source, int64_t taps, int64_t tap_stride, int64_t depth, int64_t columns, int64_t row_stride,
         int64_t column_stride)
      : depth_(depth),
        steps_((depth + kInOperand<S> - 1) / kInOperand<S>),
        count_((columns + kPanel<T> - 1) / kPanel<T>),
        data_(workspace<Operand<S, T>>(kPanels, taps * count_ * steps_ * kPanel<T>)) {
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t panel = 0; panel < count_; ++panel) {
        Operand<S, T>* to = data_ + (tap * count_ + panel) * steps_ * kPanel<T>;
        const int64_t wide = std::min<int64_t>(kPanel<T>, columns - panel * kPanel<T>);
        const T* from = source + tap * tap_stride + panel * kPanel<T> * column_stride;
        const auto element = [&](int64_t k, int64_t n) {
          return k < depth && n < wide ? from[k * row_stride + n * column_stride] : T(0);
        };
        for (int64_t step = 0; step < steps_; ++step)
          for (int64_t n = 0; n < kPanel<T>; ++n)
            if constexpr (kHasTwins<S>)
              to[step * kPanel<T> + n] = {BFloat16(element(2 * step, n)), BFloat16(element(2 * step + 1, n))};
            else
              to[step * kPanel<T> + n] = element(step, n);
      }
  }
  const Operand<S, T>* panel(int64_t tap, int64_t index) const {
    return data_ + (tap * count_ + index) * steps_ * kPanel<T>;
  }
  int64_t depth() const { return depth_; }
  int64_t steps() const { return steps_; }
  int64_t count() const { return count_; }

 private:
  int64_t depth_, steps_, count_;
  Operand<S, T>* data_;
};

template <typename T, int Rows, int Vectors>
inline void store_tile(const Vector<T> (&sums)[Rows][Vectors], T* to, int64_t stride, int64_t columns, bool add) {
  if (columns >= Vectors * kWidth<T>) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) {
        T* place = to + i * stride + j * kWidth<T>;
        store<T>(place, add ? load(place) + sums[i][j] : sums[i][j]);
      }
    return;
  }
  T spilled[Vectors * kWidth<T>];
  for (int i = 0; i < Rows; ++i) {
    for (int j = 0; j < Vectors; ++j) store<T>(spilled + j * kWidth<T>, sums[i][j]);
    for (int64_t n = 0; n < columns; ++n) to[i * stride + n] = (add ? to[i * stride + n] : T(0)) + spilled[n];
  }
}

template <typename T, int Rows, int Vectors>
using Tile = Vector<T>[Rows][Vectors];

// sums += left (Rows, steps) times one panel; O is an operand.
template <typename T, int Rows, int Vectors, typename O>
inline void add_product(Tile<T, Rows, Vectors>& sums, const O* left, int64_t steps, const O* panel) {
  for (int64_t k = 0; k < steps; ++k, ++left, panel += kPanel<T>) {
    Vector<T> row[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) row[j] = load(panel + j * kWidth<T>);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const auto factor = factor_of(left[i * steps]);
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sums[i][j] = add_multiple(sums[i][j], factor, row[j]);
    }
  }
}

// result (Rows, columns) = start + sum over taps of left[tap] (Rows, steps) times one panel of right[tap].
template <typename T, int Rows, int Vectors, typename O>
void multiply_tile(int taps, const O* const* left, int64_t steps, const O* const* right, const T* start, T* result,
                   int64_t stride, int64_t columns) {
  Tile<T, Rows, Vectors> sums;
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sums[i][j] = load(start + j * kWidth<T>);
  for (int tap = 0; tap < taps; ++tap) add_product<T, Rows, Vectors>(sums, left[tap], steps, right[tap]);
  store_tile<T, Rows, Vectors>(sums, result, stride, columns, false);
}

// One tile of both results of `multiply_pair`.
template <typename T, int Rows, int Vectors>
void multiply_pair_tile(const T* const* left, int64_t depth, const T* const* right, const T* start, T* first,
                        T* second, int64_t stride, int64_t columns) {
  Tile<T, Rows, Vectors> sums = {}, sum, difference;
  add_product<T, Rows, Vectors>(sums, left[1], depth, right[1]);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      sum[i][j] = sums[i][j] + load(start + j * kWidth<T>);
      sums[i][j] = Vector<T>{};
    }
  add_product<T, Rows, Vectors>(sums, left[2], depth, right[2]);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      difference[i][j] = sum[i][j] - sums[i][j];
      sums[i][j] += sum[i][j];
    }
  add_product<T, Rows, Vectors>(sums, left[0], depth, right[0]);
  store_tile<T, Rows, Vectors>(sums, first, stride, columns, false);
  add_product<T, Rows, Vectors>(difference, left[3], depth, right[3]);
  store_tile<T, Rows, Vectors>(difference, second, stride, columns, false);
}

// result (Rows, columns) += transposed left (steps, Rows) times right (steps, columns); O is an operand.
template <typename T, int Rows, int Vectors, typename O>
void outer_tile(int64_t steps, const O* left, int64_t left_stride, const O* right, int64_t right_stride, T* result,
                int64_t stride, int64_t columns) {
  Vector<T> sums[Rows][Vectors] = {};
  for (int64_t step = 0; step < steps; ++step, left += left_stride, right += right_stride) {
    Vector<T> row[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) row[j] = load(right + j * kWidth<T>);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const auto factor = factor_of(left[i]);
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sums[i][j] = add_multiple(sums[i][j], factor, row[j]);
    }
  }
  store_tile<T, Rows, Vectors>(sums, result, stride, columns, true);
}

// Call f with the number of rows and vectors as constants of the compiler.
template <int Rows, typename F>
void with_tile(int rows, int vectors, const F& f) {
  if constexpr (Rows > 0) {
    if (rows < Rows) return with_tile<Rows - 1>(rows, vectors, f);
    if (vectors == 1)
      f(Constant<Rows>{}, Constant<1>{});
    else
      f(Constant<Rows>{}, Constant<kTileVectors>{});
  }
}

// Cut `rows` into tiles of nearly equal height and call f(first, height).
template <typename F>
void for_tiles(int64_t rows, const F& f) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t tile = 0, first = 0; tile < tiles; ++tile) {
    const int64_t height = (rows - first) / (tiles - tile);
    f(first, static_cast<int>(height));
    first += height;
  }
}

template <typename T>
int vectors_of(int64_t columns) {
  return columns > kWidth<T> ? kTileVectors : 1;
}

// Rows (rows, depth) as the left operand of a product: in their place, or as twins along a row, an odd depth filled up
// with a zero.
template <typename S, typename T>
const Operand<S, T>* left_operand(const T* from, int64_t rows, int64_t depth, [[maybe_unused]] Operand<S, T>* to) {
  if constexpr (!kHasTwins<S>) {
    return from;
  } else {
    BFloat16* single = &to->first;
    if (depth % 2 == 0) {
      convert(from, single, rows * depth);
    } else {
      for (int64_t row = 0; row < rows; ++row, single += depth + 1) {
        convert(from + row * depth, single, depth);
        single[depth] = BFloat16(0);
      }
    }
    return to;
  }
}

// Rows (rows, columns) as an operand of `add_outer`: in their place, or as twins of two adjacent rows, an odd number of
// these filled up with zeros.
template <typename S, typename T>
const Operand<S, T>* outer_operand(const T* from, int64_t rows, int64_t columns, [[maybe_unused]] Operand<S, T>* to) {
  if constexpr (!kHasTwins<S>) {
    return from;
  } else {
    for (int64_t row = 0; row < rows; row += 2, from += 2 * columns, to += columns) twin_rows(from, row + 1 < rows, columns, to);
    return to - (rows + 1) / 2 * columns;
  }
}

// result (rows, columns) = start + sum over taps of left[tap] (rows, depth), a left operand, times right's tap of the
// number which[tap].
template <typename S, typename T>
void multiply(int64_t rows, int taps, const Operand<S, T>* const* left, const int* which, const Panels<S, T>& right,
              const T* start, T* result, int64_t columns) {
  for (int64_t panel = 0; panel < right.count(); ++panel) {
    const int64_t first = panel * kPanel<T>;
    const Operand<S, T>* b[kMaxTaps];
    for (int tap = 0; tap < taps; ++tap) b[tap] = right.panel(which[tap], panel);
    for_tiles(rows, [&](int64_t row, int height) {
      const Operand<S, T>* a[kMaxTaps];
      for (int tap = 0; tap < taps; ++tap) a[tap] = left[tap] + row * right.steps();
      with_tile<kTileRows>(height, vectors_of<T>(columns - first), [&](auto height_, auto vectors) {
        multiply_tile<T, height_(), vectors()>(taps, a, right.steps(), b, start + first,
                                               result + row * columns + first, columns, columns - first);
      });
    });
  }
}

// A convolution of three taps over two adjacent spheres with four products instead of six (Winograd's F(2, 3)):
// first = left[0] right[0] + left[1] right[1] + left[2] right[2], second = left[1] right[1] - left[2] right[2] +
// left[3] right[3], where the operands are those that `pair_input` and `pair_weights` make.
template <typename T>
void multiply_pair(int64_t rows, const T* const* left, const Panels<T, T>& right, const T* start, T* first, T* second,
                   int64_t columns) {
  for (int64_t panel = 0; panel < right.count(); ++panel) {
    const int64_t column = panel * kPanel<T>;
    const T* b[4];
    for (int part = 0; part < 4; ++part) b[part] = right.panel(part, panel);
    for_tiles(rows, [&](int64_t row, int height) {
      const T* a[4];
      for (int part = 0; part < 4; ++part) a[part] = left[part] + row * right.depth();
      const int64_t place = row * columns + column;
      with_tile<kTileRows>(height, vectors_of<T>(columns - column), [&](auto height_, auto vectors) {
        multiply_pair_tile<T, height_(), vectors()>(a, right.depth(), b, start + column, first + place, second + place,
                                                    columns, columns - column);
      });
    });
  }
}

// result (depth, columns) += transposed left (rows, depth) times right (rows, columns), both as `outer_operand` has them.
template <typename S, typename T>
void add_outer(int64_t rows, const Operand<S, T>* left, int64_t depth, const Operand<S, T>* right, int64_t columns,
               T* result) {
  const int64_t steps = (rows + kInOperand<S> - 1) / kInOperand<S>;
  for (int64_t first = 0; first < columns; first += kPanel<T>)
    for_tiles(depth, [&](int64_t k, int height) {
      with_tile<kTileRows>(height, vectors_of<T>(columns - first), [&](auto height_, auto vectors) {
        outer_tile<T, height_(), vectors()>(steps, left + k, depth, right + first, columns,
                                            result + k * columns + first, columns, columns - first);
      });
    });
}

// ------------------------------------------------------------------------------------------------ blocks of nodes

// Nodes per block, so that the operands of a block stay in the cache and its weights are read for many rows at once.
template <typename T>
int64_t block_nodes(int64_t batch, int64_t widest, int64_t bytes = kBlockBytes) {
  const int64_t rows = std::max<int64_t>(kLeastRows, bytes / static_cast<int64_t>(sizeof(T)) / widest);
  return std::max<int64_t>(1, rows / batch);
}

// to (length) = sum of the rows of x that `sources` name.
template <typename S, typename T>
void sum_rows(const S* x, int64_t length, const int32_t* sources, int64_t degree, T* to) {
  constexpr int kUnrolled = 4 * kWidth<T>;
  int64_t at = 0;
  for (; at + kUnrolled <= length; at += kUnrolled) {
    Vector<T> sums[4] = {};
    for (int64_t e = 0; e < degree; ++e) {
      const S* from = x + sources[e] * length + at;
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) sums[j] += load(from + j * kWidth<T>);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) store<T>(to + at + j * kWidth<T>, sums[j]);
  }
  for (; at < length; ++at) {
    T sum = 0;
    for (int64_t e = 0; e < degree; ++e) sum += static_cast<T>(x[sources[e] * length + at]);
    to[at] = sum;
  }
}


// Memory for operands that are made; none where they are rows as they are.
template <typename S, typename T>
Operand<S, T>* twins_for(Slot slot, int64_t count) {
  return kHasTwins<S> ? workspace<Operand<S, T>>(slot, count + kPanel<T>) : nullptr;
}

// Where a block's result is computed: in its place, or in the workspace, from which `put` converts it.
template <typename S, typename T>
T* writable(S* place, int64_t count) {
  if constexpr (std::is_same_v<S, T>)
    return place;
  else
    return workspace<T>(kWritten, count);
}
template <typename S, typename T>
void put(const T* from, S* to, int64_t count) {
  if constexpr (!std::is_same_v<S, T>) convert(from, to, count);
}

// A sum for each thread, added up in the order of the threads.
template <typename T>
class Partial {
 public:
  explicit Partial(int64_t size) : size_(size), threads_(omp_get_max_threads()) {
    data_ = workspace<T>(kPartial, threads_ * size);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < threads_ * size; ++i) data_[i] = 0;
  }
  int threads() const { return threads_; }
  T* own() const { return data_ + omp_get_thread_num() * size_; }
  void add_to(T* total) const {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < size_; ++i) {
      T sum = total[i];
      for (int thread = 0; thread < threads_; ++thread) sum += data_[thread * size_ + i];
      total[i] = sum;
    }
  }

 private:
  int64_t size_;
  int threads_;
  T* data_;
};

// What the rows of a product begin with.
template <typename T>
const T* start_row(const T* bias, int64_t columns) {
  T* start = workspace<T>(kStart, columns);
  for (int64_t c = 0; c < columns; ++c) start[c] = bias == nullptr ? T(0) : bias[c];
  return start;
}

// ---------------------------------------------------------------------------------------------------- batch norm

// Sums of the columns of a block about its first row, from which mean and scatter of all blocks are combined.
template <typename T>
void block_moments(const T* y, int64_t rows, int64_t columns, double* mean, double* scatter) {
  for_lanes<T, kTileVectors>(columns, [&](int64_t first, auto vectors) {
    using Group = Lanes<T, vectors()>;
    const Group centre = Group::from(y + first);
    Group sum = {}, square = {};
    for (int64_t r = 1; r < rows; ++r) {
      const Group row = Group::from(y + r * columns + first);
#pragma GCC unroll 2
      for (int j = 0; j < Group::kCount; ++j) {
        const auto distance = row.value[j] - centre.value[j];
        sum.value[j] += distance;
        square.value[j] += distance * distance;
      }
    }
    T sums[kPanel<T>], squares[kPanel<T>];
    sum.to(sums);
    square.to(squares);
    for (int64_t c = 0; c < Group::kCount * Group::kStep; ++c) {
      const double total = sums[c];
      mean[first + c] = y[first + c] + total / rows;
      scatter[first + c] = squares[c] - total * total / rows;
    }
  });
}

struct Moments {
  std::vector<double> mean, scatter, rows;
  int64_t columns;
  Moments(int64_t blocks, int64_t columns)
      : mean(blocks * columns), scatter(blocks * columns), rows(blocks), columns(columns) {}

  // Mean and sum of squared distances from it, over all blocks.
  void combine(double* all_mean, double* all_scatter) const {
    double count = 0;
    for (double n : rows) count += n;
    for (int64_t c = 0; c < columns; ++c) {
      double sum = 0, scattered = 0;
      for (size_t b = 0; b < rows.size(); ++b) sum += rows[b] * mean[b * columns + c];
      const double centre = sum / count;
      for (size_t b = 0; b < rows.size(); ++b) {
        const double distance = mean[b * columns + c] - centre;
        scattered += std::max(0.0, scatter[b * columns + c]) + rows[b] * distance * distance;
      }
      // std::max loses a NaN, the centre keeps it.
      all_mean[c] = centre;
      all_scatter[c] = scattered + (centre - centre);
    }
  }
};

// z = relu(scale * y + shift) + residual, row by row; z may be y.
template <typename Y, typename S, typename T, typename Z>
void rectify(const Y* y, const T* scale, const T* shift, const S* residual, Z* z, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for_lanes<T, 1>(columns, [&](int64_t c, auto vectors) {
      using Group = Lanes<T, vectors()>;
      const auto value = Group::from(scale + c).value[0] * Group::from(y + r * columns + c).value[0] +
                         Group::from(shift + c).value[0];
      const typename Group::Lane zero = {};
      Group result{{value < zero ? zero : value}};
      if (residual != nullptr) result.value[0] += Group::from(residual + r * columns + c).value[0];
      result.to(z + r * columns + c);
    });
}

// How features are read: as they are, or, with a scale, as relu(scale * y + shift) of what was kept of them.
template <typename T>
struct Line {
  const T *scale, *shift;

  template <int Vectors, typename S>
  Lanes<T, Vectors> read(const S* from, int64_t channel) const {
    auto lanes = Lanes<T, Vectors>::from(from + channel);
    if (scale == nullptr) return lanes;
    const auto value = Lanes<T, Vectors>::from(scale + channel).value[0] * lanes.value[0] +
                       Lanes<T, Vectors>::from(shift + channel).value[0];
    const typename Lanes<T, Vectors>::Lane zero = {};
    lanes.value[0] = value < zero ? zero : value;
    return lanes;
  }
};

// Gradient of the loss with respect to y, from that with respect to relu(scale * y + shift):
// scale * [scale * y + shift > 0] * dz + slope * (y - mean) + constant.
template <typename T>
struct NormGradient {
  const T *scale, *shift, *mean, *slope, *constant;

  template <typename S, typename To>
  void apply(const S* dz, const S* y, To* dy, int64_t rows, int64_t columns) const {
    for (int64_t r = 0; r < rows; ++r)
      for_lanes<T, 1>(columns, [&](int64_t c, auto vectors) {
        using Group = Lanes<T, vectors()>;
        const auto value = Group::from(y + r * columns + c).value[0], factor = Group::from(scale + c).value[0];
        const auto gradient = Group::from(dz + r * columns + c).value[0];
        const typename Group::Lane zero = {};
        const typename Group::Lane passed =
            factor * value + Group::from(shift + c).value[0] > zero ? gradient : zero;
        const auto centred = value - Group::from(mean + c).value[0];
        const Group result{{factor * passed + (Group::from(slope + c).value[0] * centred +
                                               Group::from(constant + c).value[0])}};
        result.to(dy + r * columns + c);
      });
  }
};

// Rows as they are computed with: in their place, or converted into the workspace.
template <typename S, typename T>
const T* readable(const S* from, const Line<T>& line, int64_t rows, int64_t columns) {
  if constexpr (std::is_same_v<S, T>)
    if (line.scale == nullptr) return from;
  T* to = workspace<T>(kRead, rows * columns);
  if (line.scale == nullptr)
    convert(from, to, rows * columns);
  else
    rectify<S, S, T, T>(from, line.scale, line.shift, nullptr, to, rows, columns);
  return to;
}

// The sums that the gradient of a norm needs before it can begin: of dz where the ReLU let through, and of the same
// times (y - mean), taken block by block and added in the order of the blocks.
template <typename S, typename T>
class NormSums {
 public:
  // With `y` null there is nothing to sum.
  NormSums(const S* y, const T* scale, const T* shift, const T* mean, int64_t blocks, int64_t columns)
      : y_(y), scale_(scale), shift_(shift), mean_(mean), blocks_(blocks), columns_(columns) {
    if (y != nullptr) partial_.resize(blocks * 2 * columns);
  }
  // dz are the rows of the block, which begin at y + offset.
  template <typename D>
  void add(int64_t block, const D* dz, int64_t offset, int64_t rows) {
    if (y_ == nullptr) return;
    T* sums = partial_.data() + block * 2 * columns_;
    for_lanes<T, kTileVectors>(columns_, [&](int64_t first, auto vectors) {
      using Group = Lanes<T, vectors()>;
      const Group slope = Group::from(scale_ + first), start = Group::from(shift_ + first);
      const Group centre = Group::from(mean_ + first);
      Group plain = {}, weighted = {};
      for (int64_t r = 0; r < rows; ++r) {
        const Group gradient = Group::from(dz + r * columns_ + first);
        const Group value = Group::from(y_ + offset + r * columns_ + first);
#pragma GCC unroll 2
        for (int j = 0; j < Group::kCount; ++j) {
          const auto passed = slope.value[j] * value.value[j] + start.value[j] > 0 ? gradient.value[j]
                                                                                   : typename Group::Lane{};
          plain.value[j] += passed;
          weighted.value[j] += passed * (value.value[j] - centre.value[j]);
        }
      }
      plain.to(sums + first);
      weighted.to(sums + columns_ + first);
    });
  }
  void combine(double* sums) const {
    if (y_ == nullptr) return;
    std::fill_n(sums, 2 * columns_, 0.0);
    for (int64_t block = 0; block < blocks_; ++block)
      for (int64_t c = 0; c < 2 * columns_; ++c) sums[c] += partial_[block * 2 * columns_ + c];
  }

 private:
  const S* y_;
  const T *scale_, *shift_, *mean_;
  int64_t blocks_, columns_;
  std::vector<T> partial_;
};

// --------------------------------------------------------------------------------------------------- convolutions

// What follows a convolution's block while it is in the cache: its moments, or the norm that is known already.
template <typename S, typename T>
struct Finish {
  Moments* moments;
  const T *scale, *shift;
  const S* residual;

  void operator()(int64_t block, T* rows_of_block, S* y, int64_t offset, int64_t rows, int64_t columns) const {
    if (moments != nullptr) {
      moments->rows[block] = rows;
      block_moments(rows_of_block, rows, columns, moments->mean.data() + block * columns,
                    moments->scatter.data() + block * columns);
    }
    if (scale != nullptr)
      rectify(rows_of_block, scale, shift, residual == nullptr ? nullptr : residual + offset, y + offset, rows, columns);
    else
      put<S, T>(rows_of_block, y + offset, rows * columns);
  }
};

template <typename S, typename T>
void intra_forward(const S* x, const T* weight, const T* bias, const int32_t* sources, const int32_t* offsets, S* y,
                   int64_t nodes, int64_t batch, int64_t depth, int64_t columns, double* mean, double* scatter,
                   const T* scale, const T* shift, const S* residual) {
  const Panels<S, T> panels(weight, 1, 0, depth, columns, columns, 1);
  const int64_t per_block = block_nodes<T>(batch, std::max(depth, columns));
  const int64_t blocks = (nodes + per_block - 1) / per_block;
  Moments moments(mean == nullptr ? 0 : blocks, columns);
  const Finish<S, T> finish{mean == nullptr ? nullptr : &moments, scale, shift, residual};
#pragma omp parallel
  {
    T* sums = workspace<T>(kSums, per_block * batch * depth);
    const T* start = start_row(bias, columns);
    Operand<S, T>* twins = twins_for<S, T>(kTwins, per_block * batch * panels.steps());
    const int which[1] = {0};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * per_block, last = std::min(nodes, first + per_block);
      for (int64_t node = first; node < last; ++node)
        sum_rows(x, batch * depth, sources + offsets[node], offsets[node + 1] - offsets[node],
                 sums + (node - first) * batch * depth);
      const int64_t rows = (last - first) * batch, offset = first * batch * columns;
      T* to = writable<S, T>(y + offset, rows * columns);
      const Operand<S, T>* left[1] = {left_operand<S, T>(sums, rows, depth, twins)};
      multiply(rows, 1, left, which, panels, start, to, columns);
      finish(block, to, y, offset, rows, columns);
    }
  }
  if (mean != nullptr) moments.combine(mean, scatter);
}

// dx = reversed sum of dy, times the transposed weight, plus residual; dweight = transposed x times the sum.
template <typename S, typename T>
void intra_backward(const S* dy, const S* x, const T* weight, const int32_t* targets, const int32_t* offsets, S* dx,
                    const S* residual, T* dweight, int64_t nodes, int64_t batch, int64_t depth, int64_t columns,
                    const S* before, const T* scale, const T* shift, const T* mean, double* sums_before) {
  const Panels<S, T> panels(weight, 1, 0, columns, depth, 1, columns);
  const int64_t per_block = block_nodes<T>(batch, std::max(depth, columns));
  const int64_t blocks = (nodes + per_block - 1) / per_block;
  const Partial<T> partial(depth * columns);
  const Line<T> line{x == nullptr ? scale : nullptr, shift};
  if (x == nullptr) x = before;
  NormSums<S, T> norm_sums(before, scale, shift, mean, blocks, depth);
#pragma omp parallel num_threads(partial.threads())
  {
    using O = Operand<S, T>;
    T *own = partial.own(), *sums = workspace<T>(kSums, per_block * batch * columns);
    const T* start = start_row<T>(nullptr, depth);
    O* twins = twins_for<S, T>(kTwins, per_block * batch * panels.steps());
    O* outer_left = twins_for<S, T>(kOuterLeft, per_block * batch * depth);
    O* outer_right = twins_for<S, T>(kOuterRight, per_block * batch * columns);
    const int which[1] = {0};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * per_block, last = std::min(nodes, first + per_block);
      for (int64_t node = first; node < last; ++node)
        sum_rows(dy, batch * columns, targets + offsets[node], offsets[node + 1] - offsets[node],
                 sums + (node - first) * batch * columns);
      const int64_t rows = (last - first) * batch, offset = first * batch * depth;
      const T* input = readable(x + offset, line, rows, depth);
      add_outer<S, T>(rows, outer_operand<S, T>(input, rows, depth, outer_left), depth,
                      outer_operand<S, T>(sums, rows, columns, outer_right), columns, own);
      if (dx == nullptr) continue;
      T* to = writable<S, T>(dx + offset, rows * depth);
      const O* left[1] = {left_operand<S, T>(sums, rows, columns, twins)};
      multiply(rows, 1, left, which, panels, start, to, depth);
      if (residual != nullptr) {
        for_lanes<T, 1>(rows * depth, [&](int64_t i, auto vectors) {
          Lanes<T, vectors()> sum = Lanes<T, vectors()>::from(to + i);
          sum.value[0] += Lanes<T, vectors()>::from(residual + offset + i).value[0];
          sum.to(to + i);
        });
      }
      norm_sums.add(block, to, offset, rows);
      put<S, T>(to, dx + offset, rows * depth);
    }
  }
  partial.add_to(dweight);
  norm_sums.combine(sums_before);
}

// ---------------------------------------------------------------------------------- three taps, two spheres at once

// Four spheres x0 ... x3 (null: zeros) as they enter the products: x0 - x2, x1 + x2, x2 - x1, x1 - x3, `slot` apart.
template <typename S, typename T>
void pair_input(const S* const* x, const Line<T>& line, T* to, int64_t slot, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row, to += columns)
    for_lanes<T, 1>(columns, [&](int64_t c, auto vectors) {
      using Group = Lanes<T, vectors()>;
      const auto read = [&](int part) {
        return x[part] == nullptr ? Group{} : line.template read<vectors()>(x[part] + row * columns, c);
      };
      const auto x0 = read(0).value[0], x1 = read(1).value[0], x2 = read(2).value[0], x3 = read(3).value[0];
      Group{{x0 - x2}}.to(to + c);
      Group{{x1 + x2}}.to(to + slot + c);
      Group{{x2 - x1}}.to(to + 2 * slot + c);
      Group{{x1 - x3}}.to(to + 3 * slot + c);
    });
}

// Weights (3, size), or in reverse order, as they enter the products: g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, -g2.
template <typename T>
const T* pair_weights(const T* weight, int64_t size, bool reversed) {
  const T *g0 = weight + (reversed ? 2 * size : 0), *g1 = weight + size, *g2 = weight + (reversed ? 0 : 2 * size);
  T* to = workspace<T>(kWeights, 4 * size);
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    to[i] = g0[i];
    to[size + i] = (g0[i] + g1[i] + g2[i]) / 2;
    to[2 * size + i] = (g0[i] - g1[i] + g2[i]) / 2;
    to[3 * size + i] = -g2[i];
  }
  return to;
}

// As radial_forward with three taps, in products of numbers of type T. The sphere beyond an odd number of them is computed and left.
template <typename S, typename T>
void radial_pairs_forward(const S* x, const T* weight, const T* bias, S* y, int64_t spheres, int64_t vertices,
                          int64_t batch, int64_t depth, int64_t columns, const Line<T>& line, double* mean,
                          double* scatter, const T* scale, const T* shift, const S* residual) {
  const int64_t size = depth * columns;
  const Panels<T, T> panels(pair_weights(weight, size, false), 4, size, depth, columns, columns, 1);
  const int64_t per_block = block_nodes<T>(batch, std::max(depth, columns), kPairBytes);
  const int64_t blocks = (vertices + per_block - 1) / per_block;
  Moments moments(mean == nullptr ? 0 : blocks * spheres, columns);
  const Finish<S, T> finish{mean == nullptr ? nullptr : &moments, scale, shift, residual};
#pragma omp parallel
  {
    const int64_t slot = per_block * batch * depth, written = per_block * batch * columns;
    T *input = workspace<T>(kSums, 4 * slot), *results = workspace<T>(kWritten, 2 * written);
    const T *start = start_row(bias, columns), *left[4] = {input, input + slot, input + 2 * slot, input + 3 * slot};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * per_block, last = std::min(vertices, first + per_block);
      const int64_t rows = (last - first) * batch;
      for (int64_t sphere = 0; sphere < spheres; sphere += 2) {
        const S* read[4];
        for (int64_t part = 0; part < 4; ++part) {
          const int64_t other = sphere + part - 1;
          read[part] = other < 0 || other >= spheres ? nullptr : x + (other * vertices + first) * batch * depth;
        }
        pair_input(read, line, input, slot, rows, depth);
        T* to[2];
        int64_t offset[2];
        for (int64_t part = 0; part < 2; ++part) {
          offset[part] = ((sphere + part) * vertices + first) * batch * columns;
          to[part] = results + part * written;
          if constexpr (std::is_same_v<S, T>)
            if (sphere + part < spheres) to[part] = y + offset[part];
        }
        multiply_pair(rows, left, panels, start, to[0], to[1], columns);
        for (int64_t part = 0; part < 2 && sphere + part < spheres; ++part)
          finish(block * spheres + sphere + part, to[part], y, offset[part], rows, columns);
      }
    }
  }
  if (mean != nullptr) moments.combine(mean, scatter);
}

// As radial_backward with three taps. The gradient of the weights is that of the four that enter the products.
template <typename S, typename T>
void radial_pairs_backward(const S* dz, const S* y, const NormGradient<T>& norm, const S* x, const T* weight, S* dx,
                           T* dweight, int64_t spheres, int64_t vertices, int64_t batch, int64_t depth,
                           int64_t columns, const S* before, const T* scale, const T* shift, const T* mean,
                           double* sums_before) {
  const int64_t size = depth * columns;
  const Panels<T, T> panels(pair_weights(weight, size, true), 4, size, columns, depth, 1, columns);
  const int64_t per_block = block_nodes<T>(batch, std::max(depth, columns), kPairBytes);
  const int64_t blocks = (vertices + per_block - 1) / per_block;
  const Partial<T> partial(4 * size);
  const Line<T> line{x == nullptr ? scale : nullptr, shift};
  if (x == nullptr) x = before;
  NormSums<S, T> norm_sums(before, scale, shift, mean, blocks * spheres, depth);
#pragma omp parallel num_threads(partial.threads())
  {
    const int64_t slot = per_block * batch * depth, written = per_block * batch * columns;
    // dy of four spheres in a ring, then as it enters the products, then x as it enters them.
    T *own = partial.own(), *ring = workspace<T>(kSums, 8 * written + 4 * slot);
    T *gradients = ring + 4 * written, *inputs = ring + 8 * written, *results = workspace<T>(kWritten, 2 * slot);
    const T* start = start_row<T>(nullptr, depth);
    const T* left[4];
    for (int64_t part = 0; part < 4; ++part) left[part] = gradients + part * written;
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * per_block, last = std::min(vertices, first + per_block);
      const int64_t rows = (last - first) * batch;
      const auto fill = [&](int64_t sphere) {
        if (sphere >= spheres) return;
        const int64_t offset = (sphere * vertices + first) * batch * columns;
        T* to = ring + sphere % 4 * written;
        if (y == nullptr)
          convert(dz + offset, to, rows * columns);
        else
          norm.apply(dz + offset, y + offset, to, rows, columns);
      };
      fill(0);
      for (int64_t sphere = 0; sphere < spheres; sphere += 2) {
        fill(sphere + 1);
        fill(sphere + 2);
        const T* dy[4];
        const S* read[4];
        for (int64_t part = 0; part < 4; ++part) {
          const int64_t other = sphere + part - 1;
          const bool outside = other < 0 || other >= spheres;
          dy[part] = outside ? nullptr : ring + other % 4 * written;
          read[part] = outside ? nullptr : x + (other * vertices + first) * batch * depth;
        }
        pair_input(dy, Line<T>{nullptr, nullptr}, gradients, written, rows, columns);
        pair_input(read, line, inputs, slot, rows, depth);
        add_outer<T, T>(rows, inputs, depth, dy[1], columns, own);
        add_outer<T, T>(rows, inputs + slot, depth, left[1], columns, own + size);
        add_outer<T, T>(rows, inputs + 2 * slot, depth, left[2], columns, own + 2 * size);
        if (dy[2] != nullptr) add_outer<T, T>(rows, inputs + 3 * slot, depth, dy[2], columns, own + 3 * size);
        if (dx == nullptr) continue;
        T* to[2];
        int64_t offset[2];
        for (int64_t part = 0; part < 2; ++part) {
          offset[part] = ((sphere + part) * vertices + first) * batch * depth;
          to[part] = results + part * slot;
          if constexpr (std::is_same_v<S, T>)
            if (sphere + part < spheres) to[part] = dx + offset[part];
        }
        multiply_pair(rows, left, panels, start, to[0], to[1], depth);
        for (int64_t part = 0; part < 2 && sphere + part < spheres; ++part) {
          norm_sums.add(block * spheres + sphere + part, to[part], offset[part], rows);
          put<S, T>(to[part], dx + offset[part], rows * depth);
        }
      }
    }
  }
  std::vector<T> parts(4 * size);
  partial.add_to(parts.data());
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    const T difference = (parts[size + i] - parts[2 * size + i]) / 2;
    dweight[i] += parts[i] + difference;
    dweight[size + i] += (parts[size + i] + parts[2 * size + i]) / 2;
    dweight[2 * size + i] += difference - parts[3 * size + i];
  }
  norm_sums.combine(sums_before);
}

// ------------------------------------------------------------------------------------- any taps, a sphere at a time

template <typename S, typename T>
void radial_forward(const S* x, const T* weight, const T* bias, S* y, int64_t spheres, int64_t vertices, int64_t batch,
                    int64_t taps, int64_t depth, int64_t columns, const T* input_scale, const T* input_shift,
                    double* mean, double* scatter, const T* scale, const T* shift, const S* residual) {
  const Line<T> line{input_scale, input_shift};
  if (taps == 3 && spheres > 1 && depth >= kPairDepth && !kHasTwins<S>)
    return radial_pairs_forward(x, weight, bias, y, spheres, vertices, batch, depth, columns, line, mean, scatter,
                                scale, shift, residual);
  const Panels<S, T> panels(weight, taps, depth * columns, depth, columns, columns, 1);
  const int64_t per_block = block_nodes<T>(batch, std::max(depth, columns));
  const int64_t blocks = (vertices + per_block - 1) / per_block, reach = taps / 2;
  Moments moments(mean == nullptr ? 0 : blocks * spheres, columns);
  const Finish<S, T> finish{mean == nullptr ? nullptr : &moments, scale, shift, residual};
#pragma omp parallel
  {
    using O = Operand<S, T>;
    const int64_t slot = per_block * batch * panels.steps();
    // Features as they lie in memory may be operands already.
    const bool in_place =
        input_scale == nullptr && (std::is_same_v<S, T> || (kHasTwins<S> && depth == 2 * panels.steps()));
    O* ring = in_place ? nullptr : workspace<O>(kSums, taps * slot);
    const T* start = start_row(bias, columns);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * per_block, last = std::min(vertices, first + per_block);
      const int64_t rows = (last - first) * batch;
      const auto place = [&](int64_t sphere) { return x + (sphere * vertices + first) * batch * depth; };
      const auto fill = [&](int64_t sphere) {
        if (in_place) return;
        O* to = ring + sphere % taps * slot;
        if constexpr (kHasTwins<S>)
          left_operand<S, T>(readable(place(sphere), line, rows, depth), rows, depth, to);
        else if (input_scale != nullptr)
          rectify<S, S, T, T>(place(sphere), input_scale, input_shift, nullptr, to, rows, depth);
        else
          convert(place(sphere), to, rows * depth);
      };
      const auto input = [&](int64_t sphere) {
        return in_place ? reinterpret_cast<const O*>(place(sphere)) : ring + sphere % taps * slot;
      };
      for (int64_t sphere = 0; sphere < std::min(reach, spheres); ++sphere) fill(sphere);
      for (int64_t sphere = 0; sphere < spheres; ++sphere) {
        if (sphere + reach < spheres) fill(sphere + reach);
        const O* left[kMaxTaps];
        int which[kMaxTaps], count = 0;
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t read = sphere + tap - reach;
          if (read < 0 || read >= spheres) continue;
          left[count] = input(read);
          which[count++] = static_cast<int>(tap);
        }
        const int64_t offset = (sphere * vertices + first) * batch * columns;
        T* to = writable<S, T>(y + offset, rows * columns);
        multiply(rows, count, left, which, panels, start, to, columns);
        finish(block * spheres + sphere, to, y, offset, rows, columns);
      }
    }
  }
  if (mean != nullptr) moments.combine(mean, scatter);
}

// As intra_backward, with dy made of dz and y block by block: the ring holds it for the spheres that a tap reaches.
template <typename S, typename T>
void radial_backward(const S* dz, const S* y, const NormGradient<T>& norm, const S* x, const T* weight, S* dx,
                     T* dweight, int64_t spheres, int64_t vertices, int64_t batch, int64_t taps, int64_t depth,
                     int64_t columns, const S* before, const T* scale, const T* shift, const T* mean,
                     double* sums_before) {
  if (taps == 3 && spheres > 1 && columns >= kPairDepth && !kHasTwins<S>)
    return radial_pairs_backward(dz, y, norm, x, weight, dx, dweight, spheres, vertices, batch, depth, columns, before,
                                 scale, shift, mean, sums_before);
  const Panels<S, T> panels(weight, taps, depth * columns, columns, depth, 1, columns);
  const int64_t per_block = block_nodes<T>(batch, std::max(depth, columns));
  const int64_t blocks = (vertices + per_block - 1) / per_block, reach = taps / 2;
  const Partial<T> partial(taps * depth * columns);
  const Line<T> line{x == nullptr ? scale : nullptr, shift};
  if (x == nullptr) x = before;
  NormSums<S, T> norm_sums(before, scale, shift, mean, blocks * spheres, depth);
#pragma omp parallel num_threads(partial.threads())
  {
    using O = Operand<S, T>;
    // dy of the spheres that a tap reaches: as it is, which is what both products take, or as the operands of each.
    const int64_t slot = per_block * batch * columns, twins = per_block * batch * panels.steps();
    T *own = partial.own(), *ring = workspace<T>(kSums, (kHasTwins<S> ? 1 : taps) * slot);
    O* lefts = twins_for<S, T>(kTwins, taps * twins);
    O* outer_rights = twins_for<S, T>(kOuterRight, taps * slot);
    O* outer_left = twins_for<S, T>(kOuterLeft, per_block * batch * depth);
    const T* start = start_row<T>(nullptr, depth);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t first = block * per_block, last = std::min(vertices, first + per_block);
      const int64_t rows = (last - first) * batch;
      const auto fill = [&](int64_t sphere) {
        const int64_t offset = (sphere * vertices + first) * batch * columns, at = sphere % taps;
        T* to = ring + (kHasTwins<S> ? 0 : at * slot);
        if (y == nullptr)
          convert(dz + offset, to, rows * columns);
        else
          norm.apply(dz + offset, y + offset, to, rows, columns);
        if constexpr (kHasTwins<S>) {
          left_operand<S, T>(to, rows, columns, lefts + at * twins);
          outer_operand<S, T>(to, rows, columns, outer_rights + at * slot);
        }
      };
      for (int64_t sphere = 0; sphere < std::min(reach, spheres); ++sphere) fill(sphere);
      for (int64_t sphere = 0; sphere < spheres; ++sphere) {
        if (sphere + reach < spheres) fill(sphere + reach);
        const int64_t offset = (sphere * vertices + first) * batch * depth;
        const O *left[kMaxTaps], *outer_right[kMaxTaps];
        int which[kMaxTaps], count = 0;
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t wrote = sphere - (tap - reach);
          if (wrote < 0 || wrote >= spheres) continue;
          if constexpr (kHasTwins<S>) {
            left[count] = lefts + wrote % taps * twins;
            outer_right[count] = outer_rights + wrote % taps * slot;
          } else {
            left[count] = outer_right[count] = ring + wrote % taps * slot;
          }
          which[count++] = static_cast<int>(tap);
        }
        const O* input =
            outer_operand<S, T>(readable(x + offset, line, rows, depth), rows, depth, outer_left);
        for (int tap = 0; tap < count; ++tap)
          add_outer<S, T>(rows, input, depth, outer_right[tap], columns, own + which[tap] * depth * columns);
        if (dx == nullptr) continue;
        T* to = writable<S, T>(dx + offset, rows * depth);
        multiply(rows, count, left, which, panels, start, to, depth);
        norm_sums.add(block * spheres + sphere, to, offset, rows);
        put<S, T>(to, dx + offset, rows * depth);
      }
    }
  }
  partial.add_to(dweight);
  norm_sums.combine(sums_before);
}

// ------------------------------------------------------------------------------------- batch norm, whole tensors

constexpr int64_t kNormRows = 512;

template <typename S, typename T>
void norm_forward(const S* y, const T* scale, const T* shift, const S* residual, S* z, int64_t rows, int64_t columns) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < rows; first += kNormRows)
    rectify(y + first * columns, scale, shift, residual == nullptr ? nullptr : residual + first * columns,
            z + first * columns, std::min(kNormRows, rows - first), columns);
}

template <typename S, typename T>
void norm_sums(const S* dz, const S* y, const T* scale, const T* shift, const T* mean, double* sums, int64_t rows,
               int64_t columns) {
  const int64_t blocks = (rows + kNormRows - 1) / kNormRows;
  NormSums<S, T> partial(y, scale, shift, mean, blocks, columns);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * kNormRows;
    partial.add(block, dz + first * columns, first * columns, std::min(kNormRows, rows - first));
  }
  partial.combine(sums);
}

template <typename S, typename T>
void norm_backward(const S* dz, const S* y, const NormGradient<T>& norm, S* dy, int64_t rows, int64_t columns) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < rows; first += kNormRows)
    norm.apply(dz + first * columns, y + first * columns, dy + first * columns, std::min(kNormRows, rows - first),
               columns);
}

// -------------------------------------------------------------------------------------------------------- pooling

template <typename T>
using Place = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
constexpr int64_t kPoolLength = 256;  // a stretch of a row whose maxima and their places stay in the nearest cache

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

// y = the largest of the rows that each target reads; winners = its place among them. A NaN wins.
template <typename S, typename T>
void max_forward(const S* x, const int32_t* sources, const int32_t* offsets, S* y, uint8_t* winners, int64_t targets,
                 int64_t length) {
#pragma omp parallel for schedule(static)
  for (int64_t target = 0; target < targets; ++target) {
    const int32_t *read = sources + offsets[target], degree = offsets[target + 1] - offsets[target];
    for (int64_t first = 0; first < length; first += kPoolLength) {
      const int64_t size = std::min(kPoolLength, length - first);
      T best[kPoolLength];
      Place<T> won[kPoolLength] = {};
      T buffer[kPoolLength];
      convert(x + read[0] * length + first, best, size);
      for (int32_t place = 1; place < degree; ++place) {
        const T* from = near(x + read[place] * length + first, buffer, size);
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) {
          const T value = from[i];
          const bool larger = (value > best[i]) | (value != value);
          won[i] = larger ? Place<T>(place) : won[i];
          best[i] = larger ? value : best[i];
        }
      }
      convert(best, y + target * length + first, size);
      if (winners != nullptr) std::copy_n(won, size, winners + target * length + first);
    }
  }
}

// y = the largest of all rows, column by column; winners = the row it is in. A NaN wins.
template <typename S, typename T>
void overall_max(const S* x, S* y, int64_t* winners, int64_t rows, int64_t length) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < length; first += kPoolLength) {
    const int64_t size = std::min(kPoolLength, length - first);
    T best[kPoolLength], buffer[kPoolLength];
    Place<T> won[kPoolLength] = {};
    convert(x + first, best, size);
    for (int64_t row = 1; row < rows; ++row) {
      const T* from = near(x + row * length + first, buffer, size);
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) {
        const bool larger = (from[i] > best[i]) | (from[i] != from[i]);
        won[i] = larger ? Place<T>(row) : won[i];
        best[i] = larger ? from[i] : best[i];
      }
    }
    convert(best, y + first, size);
    if (winners != nullptr) std::copy_n(won, size, winners + first);
  }
}

// dx = sum of the gradients of the targets that a source won; `places` says where each target reads it.
template <typename S, typename T>
void max_backward(const S* dy, const uint8_t* winners, const int32_t* targets, const uint8_t* places,
                  const int32_t* offsets, S* dx, int64_t sources, int64_t length) {
#pragma omp parallel for schedule(static)
  for (int64_t source = 0; source < sources; ++source)
    for (int64_t first = 0; first < length; first += kPoolLength) {
      const int64_t size = std::min(kPoolLength, length - first);
      T sum[kPoolLength] = {}, buffer[kPoolLength];
      for (int32_t e = offsets[source]; e < offsets[source + 1]; ++e) {
        const T* from = near(dy + targets[e] * length + first, buffer, size);
        const uint8_t *won = winners + targets[e] * length + first, place = places[e];
#pragma omp simd
        for (int64_t i = 0; i < size; ++i) sum[i] += won[i] == place ? from[i] : T(0);
      }
      convert(sum, dx + source * length + first, size);
    }
}

}  // namespace

extern "C" void use_threads(int threads) { omp_set_num_threads(threads); }

#define CSGNN_EXPORT(S, T, name)                                                                                      \
  extern "C" void intra_forward_##name(const S* x, const T* weight, const T* bias, const int32_t* sources,            \
                                       const int32_t* offsets, S* y, int64_t nodes, int64_t batch, int64_t depth,     \
                                       int64_t columns, double* mean, double* scatter, const T* scale,                \
                                       const T* shift, const S* residual) {                                           \
    intra_forward(x, weight, bias, sources, offsets, y, nodes, batch, depth, columns, mean, scatter, scale, shift,    \
                  residual);                                                                                          \
  }                                                                                                                   \
  extern "C" void intra_backward_##name(const S* dy, const S* x, const T* weight, const int32_t* targets,             \
                                        const int32_t* offsets, S* dx, const S* residual, T* dweight, int64_t nodes,  \
                                        int64_t batch, int64_t depth, int64_t columns, const S* before,               \
                                        const T* scale, const T* shift, const T* mean, double* sums_before) {         \
    intra_backward(dy, x, weight, targets, offsets, dx, residual, dweight, nodes, batch, depth, columns, before,      \
                   scale, shift, mean, sums_before);                                                                  \
  }                                                                                                                   \
  extern "C" void radial_forward_##name(const S* x, const T* weight, const T* bias, S* y, int64_t spheres,            \
                                        int64_t vertices, int64_t batch, int64_t taps, int64_t depth,                 \
                                        int64_t columns, const T* input_scale, const T* input_shift, double* mean,    \
                                        double* scatter, const T* scale, const T* shift, const S* residual) {         \
    radial_forward(x, weight, bias, y, spheres, vertices, batch, taps, depth, columns, input_scale, input_shift,      \
                   mean, scatter, scale, shift, residual);                                                            \
  }                                                                                                                   \
  extern "C" void radial_backward_##name(                                                                             \
      const S* dz, const S* y, const T* norm_scale, const T* norm_shift, const T* norm_mean, const T* slope,          \
      const T* constant, const S* x, const T* weight, S* dx, T* dweight, int64_t spheres, int64_t vertices,           \
      int64_t batch, int64_t taps, int64_t depth, int64_t columns, const S* before, const T* scale, const T* shift,   \
      const T* mean, double* sums_before) {                                                                           \
    radial_backward(dz, y, NormGradient<T>{norm_scale, norm_shift, norm_mean, slope, constant}, x, weight, dx,        \
                    dweight, spheres, vertices, batch, taps, depth, columns, before, scale, shift, mean,              \
                    sums_before);                                                                                     \
  }                                                                                                                   \
  extern "C" void norm_forward_##name(const S* y, const T* scale, const T* shift, const S* residual, S* z,            \
                                      int64_t rows, int64_t columns) {                                                \
    norm_forward(y, scale, shift, residual, z, rows, columns);                                                        \
  }                                                                                                                   \
  extern "C" void norm_sums_##name(const S* dz, const S* y, const T* scale, const T* shift, const T* mean,            \
                                   double* sums, int64_t rows, int64_t columns) {                                     \
    norm_sums(dz, y, scale, shift, mean, sums, rows, columns);                                                        \
  }                                                                                                                   \
  extern "C" void norm_backward_##name(const S* dz, const S* y, const T* scale, const T* shift, const T* mean,        \
                                       const T* slope, const T* constant, S* dy, int64_t rows, int64_t columns) {     \
    norm_backward(dz, y, NormGradient<T>{scale, shift, mean, slope, constant}, dy, rows, columns);                    \
  }                                                                                                                   \
  extern "C" void max_forward_##name(const S* x, const int32_t* sources, const int32_t* offsets, S* y,                \
                                     uint8_t* winners, int64_t targets, int64_t length) {                             \
    max_forward<S, T>(x, sources, offsets, y, winners, targets, length);                                              \
  }                                                                                                                   \
  extern "C" void overall_max_##name(const S* x, S* y, int64_t* winners, int64_t rows, int64_t length) {               \
    overall_max<S, T>(x, y, winners, rows, length);                                                                   \
  }                                                                                                                   \
  extern "C" void max_backward_##name(const S* dy, const uint8_t* winners, const int32_t* targets,                    \
                                      const uint8_t* places, const int32_t* offsets, S* dx, int64_t sources,          \
                                      int64_t length) {                                                               \
    max_backward<S, T>(dy, winners, targets, places, offsets, dx, sources, length);                                   \
  }

CSGNN_EXPORT(float, float, float32)
CSGNN_EXPORT(double, double, float64)
CSGNN_EXPORT(BFloat16, float, bfloat16)
