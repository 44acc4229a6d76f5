// Batch norm with ReLU and residual: what is measured for it, how it is applied, and its gradient.
#pragma once

#include <vector>

#include "arguments.h"
#include "blocks.h"

namespace {

// z = relu(scale * y + shift), plus the residual if there is one; z may be y.
template <typename Y, typename S, typename T, typename Z>
void rectify(const Y* y, const T* scale, const T* shift, bool adds, const S* residual, Z* z, int64_t rows,
             int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for_lanes<T, 1>(columns, [&](int64_t c, auto vectors) {
      using Group = Lanes<T, vectors()>;
      const auto value = Group::from(scale + c).value[0] * Group::from(y + r * columns + c).value[0] +
                         Group::from(shift + c).value[0];
      const typename Group::Lane zero = {};
      Group result{{value < zero ? zero : value}};
      if (adds) result.value[0] += Group::from(residual + r * columns + c).value[0];
      result.to(z + r * columns + c);
    });
}

// How features are read: as they are, or as relu(scale * y + shift) of what was kept of them.
template <typename T>
struct Line {
  bool applies;
  const T *scale, *shift;

  template <int Vectors, typename S>
  Lanes<T, Vectors> read(const S* from, int64_t channel) const {
    auto lanes = Lanes<T, Vectors>::from(from + channel);
    if (!applies) return lanes;
    const auto value = Lanes<T, Vectors>::from(scale + channel).value[0] * lanes.value[0] +
                       Lanes<T, Vectors>::from(shift + channel).value[0];
    const typename Lanes<T, Vectors>::Lane zero = {};
    lanes.value[0] = value < zero ? zero : value;
    return lanes;
  }
  template <typename S>
  void read_rows(const S* from, T* to, int64_t rows, int64_t columns) const {
    if (applies)
      rectify(from, scale, shift, false, from, to, rows, columns);
    else
      convert(from, to, rows * columns);
  }
  // Rows as they are computed with: in their place, or in the workspace.
  template <typename S>
  const T* readable(const S* from, int64_t rows, int64_t columns) const {
    if constexpr (std::is_same_v<S, T>)
      if (!applies) return from;
    T* to = workspace<T>(kRead, rows * columns);
    read_rows(from, to, rows, columns);
    return to;
  }
};

// Gradient of the loss with respect to y, from that with respect to relu(scale * y + shift):
// scale * [scale * y + shift > 0] * dz + slope * (y - mean) + constant. Where no norm applies, dz itself.
template <typename T>
struct NormGradient {
  bool applies;
  const T *scale, *shift, *mean, *slope, *constant;

  template <typename S, typename To>
  void apply(const S* dz, const S* y, To* dy, int64_t rows, int64_t columns) const {
    if (!applies) return convert(dz, dy, rows * columns);
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

// Mean and sum of squared distances from it, block by block, then of all blocks in their order.
template <typename T>
class Moments {
 public:
  Moments(int64_t blocks, int64_t columns)
      : mean_(blocks * columns), scatter_(blocks * columns), rows_(blocks), columns_(columns) {}

  // Sums are taken about the first row of a block.
  void measure(int64_t block, const T* y, int64_t rows) {
    if (rows == 0) return;
    rows_[block] = rows;
    double *mean = mean_.data() + block * columns_, *scatter = scatter_.data() + block * columns_;
    for_lanes<T, kTileVectors>(columns_, [&](int64_t first, auto vectors) {
      using Group = Lanes<T, vectors()>;
      const Group centre = Group::from(y + first);
      Group sum = {}, square = {};
      for (int64_t r = 1; r < rows; ++r) {
        const Group row = Group::from(y + r * columns_ + first);
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
  void combine(double* all_mean, double* all_scatter) const {
    double count = 0;
    for (double n : rows_) count += n;
    for (int64_t c = 0; c < columns_; ++c) {
      double sum = 0, scattered = 0;
      for (size_t b = 0; b < rows_.size(); ++b) sum += rows_[b] * mean_[b * columns_ + c];
      const double centre = sum / count;
      for (size_t b = 0; b < rows_.size(); ++b) {
        const double distance = mean_[b * columns_ + c] - centre;
        scattered += std::max(0.0, scatter_[b * columns_ + c]) + rows_[b] * distance * distance;
      }
      // std::max loses a NaN, the centre keeps it.
      all_mean[c] = centre;
      all_scatter[c] = scattered + (centre - centre);
    }
  }

 private:
  std::vector<double> mean_, scatter_, rows_;
  int64_t columns_;
};

// What follows a convolution's block while it is in the cache: its moments, or the norm that is known already.
template <typename S, typename T = Computed<S>>
class After {
 public:
  // `Arguments` are those of a forward convolution, which has so many blocks.
  template <typename Arguments>
  After(const Arguments& a, int64_t blocks)
      : measures_(a.measures), normalises_(a.normalises), adds_(a.adds_features), scale_(a.scale), shift_(a.shift),
        features_(a.features), result_(a.result), columns_(a.out_channels), mean_(a.mean), scatter_(a.scatter),
        moments_(a.measures ? blocks : 0, a.out_channels) {}

  // The rows of the block belong to result + offset.
  void finish(int64_t block, T* rows_of_block, int64_t offset, int64_t rows) {
    if (measures_) moments_.measure(block, rows_of_block, rows);
    if (normalises_)
      rectify(rows_of_block, scale_, shift_, adds_, features_ + offset, result_ + offset, rows, columns_);
    else
      put<S>(rows_of_block, result_ + offset, rows * columns_);
  }
  void combine() const {
    if (measures_) moments_.combine(mean_, scatter_);
  }

 private:
  bool measures_, normalises_, adds_;
  const T *scale_, *shift_;
  const S* features_;
  S* result_;
  int64_t columns_;
  double *mean_, *scatter_;
  Moments<T> moments_;
};

// The sums that the gradient of a norm needs before it can begin: of dz where the ReLU let through, and of the same
// times (y - mean), taken block by block and added in the order of the blocks.
template <typename S, typename T = Computed<S>>
class GradientSums {
 public:
  GradientSums(const S* y, const T* scale, const T* shift, const T* mean, double* sums, int64_t blocks,
               int64_t columns)
      : y_(y), scale_(scale), shift_(shift), mean_(mean), sums_(sums), blocks_(blocks), columns_(columns),
        partial_(blocks * 2 * columns) {}

  // dz are the rows of the block, which begin at y + offset.
  template <typename D>
  void add(int64_t block, const D* dz, int64_t offset, int64_t rows) {
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
  void combine() const {
    std::fill_n(sums_, 2 * columns_, 0.0);
    for (int64_t block = 0; block < blocks_; ++block)
      for (int64_t c = 0; c < 2 * columns_; ++c) sums_[c] += partial_[block * 2 * columns_ + c];
  }

 private:
  const S* y_;
  const T *scale_, *shift_, *mean_;
  double* sums_;
  int64_t blocks_, columns_;
  std::vector<T> partial_;
};

// What follows the gradient of a convolution's features: the sums for the norm that made them.
template <typename S, typename T = Computed<S>>
class Before {
 public:
  // `Arguments` are those of a backward convolution, which has so many blocks.
  template <typename Arguments>
  Before(const Arguments& a, int64_t blocks)
      : wanted_(a.sums_before), sums_(a.before, a.scale, a.shift, a.mean, a.sums, wanted_ ? blocks : 0, a.in_channels),
        gradient_(a.features_gradient), columns_(a.in_channels) {}

  // The rows of the block belong to features_gradient + offset.
  void finish(int64_t block, const T* rows_of_block, int64_t offset, int64_t rows) {
    if (wanted_) sums_.add(block, rows_of_block, offset, rows);
    put<S>(rows_of_block, gradient_ + offset, rows * columns_);
  }
  void combine() const {
    if (wanted_) sums_.combine();
  }

 private:
  bool wanted_;
  GradientSums<S> sums_;
  S* gradient_;
  int64_t columns_;
};

// The norm of whole tensors, in stretches of this many rows.
constexpr int64_t kNormRows = 512;

template <typename S>
bool norm_forward(const NormForward<S>& a) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < a.rows; first += kNormRows) {
    const int64_t offset = first * a.channels;
    rectify(a.input + offset, a.scale, a.shift, a.adds_residual, a.residual + offset, a.result + offset,
            std::min(kNormRows, a.rows - first), a.channels);
  }
  return true;
}

template <typename S>
bool norm_sums(const NormSums<S>& a) {
  const int64_t blocks = (a.rows + kNormRows - 1) / kNormRows;
  GradientSums<S> sums(a.input, a.scale, a.shift, a.mean, a.sums, blocks, a.channels);
#pragma omp parallel for schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t first = block * kNormRows;
    sums.add(block, a.gradient + first * a.channels, first * a.channels, std::min(kNormRows, a.rows - first));
  }
  sums.combine();
  return true;
}

template <typename S>
bool norm_backward(const NormBackward<S>& a) {
  const NormGradient<Computed<S>> norm{true, a.scale, a.shift, a.mean, a.slope, a.constant};
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < a.rows; first += kNormRows) {
    const int64_t offset = first * a.channels;
    norm.apply(a.gradient + offset, a.input + offset, a.input_gradient + offset, std::min(kNormRows, a.rows - first),
               a.channels);
  }
  return true;
}

}  // namespace
