// Matrix products of rows that are in the cache: by a weight that is cut into panels, and transposed by other rows.
//
// For features of type S the operands are of type T, or, in the unit that multiplies bfloat16 in pairs, twins.
#pragma once

#include "blocks.h"

namespace {

#ifdef __AVX512F__
constexpr int kTileRows = 12;  // 12 x 2 sums, 2 operands and a broadcast in 32 registers
#else
constexpr int kTileRows = 6;  // 6 x 2 sums, 2 operands and a broadcast in 16 registers
#endif
constexpr int kTileStep = kTileRows / 3;  // heights of tiles are multiples of it
constexpr int kMaxTaps = 64;

// Two bfloat16 numbers, which some processors multiply by two others and add in one instruction. Elsewhere it takes
// several, which are slower than products of floats and serve the tests.
struct Twin {
  BFloat16 first, second;
};
#ifdef CSGNN_TWINS
template <typename S>
constexpr bool kHasTwins = std::is_same_v<S, BFloat16>;
// Twins travel as floats of the same bits, because gcc spills vectors of its own type for them.
inline Vector<float> load(const Twin* from) {
  return *reinterpret_cast<const Simd<float>::Unaligned*>(from);
}
inline Vector<float> factor_of(Twin twin) {
  return (Vector<float>)(Simd<BFloat16>::Whole{} + __builtin_bit_cast(uint32_t, twin));
}
inline Vector<float> add_multiple(Vector<float> sum, Vector<float> factor, Vector<float> row) {
#ifdef __AVX512BF16__
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(factor), "v"(row));
  return sum;
#else
  using Whole = Simd<BFloat16>::Whole;
  const auto first = [](Vector<float> twins) { return (Vector<float>)((Whole)twins << 16); };
  const auto second = [](Vector<float> twins) { return (Vector<float>)((Whole)twins & 0xffff0000u); };
  return sum + second(factor) * second(row) + first(factor) * first(row);
#endif
}
// Twins of two adjacent rows; without a second one, of the first and zeros.
inline void twin_rows(const float* first, bool second, int64_t columns, Twin* to) {
  int64_t c = 0;
  if (second)
    for (; c + kWidth<float> <= columns; c += kWidth<float>) {
      const auto lower = upper_half(load(first + c)), upper = upper_half(load(first + columns + c));
      store<float>(reinterpret_cast<float*>(to + c), (Vector<float>)(lower | upper << 16));
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
template <typename S, typename T = Computed<S>>
using Operand = std::conditional_t<kHasTwins<S>, Twin, T>;
template <typename S>
constexpr int kInOperand = kHasTwins<S> ? 2 : 1;

// Memory for operands that are made; none where they are rows as they are.
template <typename S>
Operand<S>* twins_for(Slot slot, int64_t count) {
  return kHasTwins<S> ? workspace<Operand<S>>(slot, count + kPanel<Computed<S>>) : nullptr;
}

// A matrix (depth, columns) cut into panels of columns, each stored row after row (twins: two rows in one) and padded
// with zeros.
template <typename S>
class Panels {
  using T = Computed<S>;

 public:
  // Element (k, n) is source[k * row_stride + n * column_stride].
  Panels(const T* source, int64_t taps, int64_t tap_stride, int64_t depth, int64_t columns, int64_t row_stride,
         int64_t column_stride)
      : depth_(depth),
        steps_((depth + kInOperand<S> - 1) / kInOperand<S>),
        count_((columns + kPanel<T> - 1) / kPanel<T>),
        data_(workspace<Operand<S>>(kPanels, taps * count_ * steps_ * kPanel<T>)) {
#pragma omp parallel for schedule(static) collapse(2)
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t panel = 0; panel < count_; ++panel) {
        Operand<S>* to = data_ + (tap * count_ + panel) * steps_ * kPanel<T>;
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
  const Operand<S>* panel(int64_t tap, int64_t index) const {
    return data_ + (tap * count_ + index) * steps_ * kPanel<T>;
  }
  int64_t depth() const { return depth_; }
  int64_t steps() const { return steps_; }
  int64_t count() const { return count_; }

 private:
  int64_t depth_, steps_, count_;
  Operand<S>* data_;
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

// Call f with the height of a tile, as `for_tiles` chooses it, and its vectors as constants of the compiler.
template <int Rows = kTileRows, typename F>
inline void with_tile(int rows, int vectors, const F& f) {
  if constexpr (Rows > 1)
    if (rows < Rows) return with_tile<(Rows > kTileStep ? Rows - kTileStep : Rows / 2)>(rows, vectors, f);
  if (vectors == 1)
    f(Constant<Rows>{}, Constant<1>{});
  else
    f(Constant<Rows>{}, Constant<kTileVectors>{});
}

// Cut `rows` into as few tiles as can be and call f(first, height). Heights are multiples of kTileStep, nearly equal,
// and powers of two for what is left: each height is code that has to be compiled.
template <typename F>
void for_tiles(int64_t rows, const F& f) {
  for (int64_t first = 0, height; first < rows; first += height) {
    const int64_t steps = (rows - first) / kTileStep;
    const int64_t tiles = (steps * kTileStep + kTileRows - 1) / kTileRows;
    if (steps > 0)
      height = (steps + tiles - 1) / tiles * kTileStep;
    else
      for (height = kTileStep / 2; height > rows - first;) height /= 2;
    f(first, static_cast<int>(height));
  }
}

template <typename T>
int vectors_of(int64_t columns) {
  return columns > kWidth<T> ? kTileVectors : 1;
}

// Rows (rows, depth) as the left operand of a product: in their place, or as twins along a row, an odd depth filled up
// with a zero.
template <typename S, typename T = Computed<S>>
const Operand<S>* left_operand(const T* from, int64_t rows, int64_t depth, [[maybe_unused]] Operand<S>* to) {
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
template <typename S, typename T = Computed<S>>
const Operand<S>* outer_operand(const T* from, int64_t rows, int64_t columns, [[maybe_unused]] Operand<S>* to) {
  if constexpr (!kHasTwins<S>) {
    return from;
  } else {
    for (int64_t row = 0; row < rows; row += 2, from += 2 * columns, to += columns)
      twin_rows(from, row + 1 < rows, columns, to);
    return to - (rows + 1) / 2 * columns;
  }
}

// result (rows, columns) = start + sum over taps of left[tap] (rows, depth), a left operand, times right's tap of the
// number which[tap].
template <typename S, typename T = Computed<S>>
void multiply(int64_t rows, int taps, const Operand<S>* const* left, const int* which, const Panels<S>& right,
              const T* start, T* result, int64_t columns) {
  for (int64_t panel = 0; panel < right.count(); ++panel) {
    const int64_t first = panel * kPanel<T>;
    const Operand<S>* b[kMaxTaps];
    for (int tap = 0; tap < taps; ++tap) b[tap] = right.panel(which[tap], panel);
    for_tiles(rows, [&](int64_t row, int height) {
      const Operand<S>* a[kMaxTaps];
      for (int tap = 0; tap < taps; ++tap) a[tap] = left[tap] + row * right.steps();
      with_tile(height, vectors_of<T>(columns - first), [&](auto height_, auto vectors) {
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
void multiply_pair(int64_t rows, const T* const* left, const Panels<T>& right, const T* start, T* first, T* second,
                   int64_t columns) {
  for (int64_t panel = 0; panel < right.count(); ++panel) {
    const int64_t column = panel * kPanel<T>;
    const T* b[4];
    for (int part = 0; part < 4; ++part) b[part] = right.panel(part, panel);
    for_tiles(rows, [&](int64_t row, int height) {
      const T* a[4];
      for (int part = 0; part < 4; ++part) a[part] = left[part] + row * right.depth();
      const int64_t place = row * columns + column;
      with_tile(height, vectors_of<T>(columns - column), [&](auto height_, auto vectors) {
        multiply_pair_tile<T, height_(), vectors()>(a, right.depth(), b, start + column, first + place, second + place,
                                                    columns, columns - column);
      });
    });
  }
}

// result (depth, columns) += transposed left (rows, depth) times right (rows, columns), both as `outer_operand` has them.
template <typename S, typename T = Computed<S>>
void add_outer(int64_t rows, const Operand<S>* left, int64_t depth, const Operand<S>* right, int64_t columns,
               T* result) {
  const int64_t steps = (rows + kInOperand<S> - 1) / kInOperand<S>;
  for (int64_t first = 0; first < columns; first += kPanel<T>)
    for_tiles(depth, [&](int64_t k, int height) {
      with_tile(height, vectors_of<T>(columns - first), [&](auto height_, auto vectors) {
        outer_tile<T, height_(), vectors()>(steps, left + k, depth, right + first, columns,
                                            result + k * columns + first, columns, columns - first);
      });
    });
}

}  // namespace
