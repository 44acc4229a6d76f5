// What each kernel is given: sizes, tensors, choices. library.py has the same structures; a test compares them.
//
// Tensors are contiguous and row-major. Features are stored as S and computed with as T. A tensor that no choice asks
// for is not looked at.
#pragma once

#include <cstdint>

#include "vectors.h"

namespace {

// result = sum of the sources of each node, times the weight, plus bias.
template <typename S, typename T = Computed<S>>
struct IntraForward {
  int64_t nodes, edges, batch, in_channels, out_channels;
  const S* features;
  const T *weight, *bias;
  const int32_t *sources, *offsets;
  S* result;
  double *mean, *scatter;
  const T *scale, *shift;
  bool measures;       // mean and scatter of the result
  bool normalises;     // result = relu(scale * result + shift)
  bool adds_features;  // and adds the features to that
};

// features_gradient = reversed sum of the gradient, times the transposed weight; weight_gradient += transposed features
// times that sum.
template <typename S, typename T = Computed<S>>
struct IntraBackward {
  int64_t nodes, edges, batch, in_channels, out_channels;
  const S *gradient, *features;
  const T* weight;
  const int32_t *targets, *offsets;
  const S *residual, *before;
  const T *scale, *shift, *mean;
  S* features_gradient;
  T* weight_gradient;
  double* sums;
  bool on_line;         // the features are relu(scale * features + shift)
  bool wants_features;  // features_gradient
  bool adds_residual;   // to features_gradient
  bool sums_before;     // sums for the norm whose input is `before`, as NormSums
};

// result = sum over taps of the features of the spheres around, times the tap's weight, plus bias.
template <typename S, typename T = Computed<S>>
struct RadialForward {
  int64_t spheres, vertices, batch, taps, in_channels, out_channels;
  const S* features;
  const T *weight, *bias, *line_scale, *line_shift;
  S* result;
  double *mean, *scatter;
  const T *scale, *shift;
  bool on_line;  // the features are relu(line_scale * features + line_shift)
  bool measures, normalises, adds_features;  // as in IntraForward
};

// As IntraBackward, the gradient that of the result, or of what a norm made of it.
template <typename S, typename T = Computed<S>>
struct RadialBackward {
  int64_t spheres, vertices, batch, taps, in_channels, out_channels;
  const S *gradient, *result;
  const T *norm_scale, *norm_shift, *norm_mean, *norm_slope, *norm_constant;
  const S* features;
  const T* weight;
  const S* before;
  const T *scale, *shift, *mean;
  S* features_gradient;
  T* weight_gradient;
  double* sums;
  bool after_norm;  // the gradient is that of a norm's output; result and norm_... are as in NormBackward
  bool on_line, wants_features, sums_before;  // as in IntraBackward
};

// result = relu(scale * input + shift) + residual; result may be input or residual.
template <typename S, typename T = Computed<S>>
struct NormForward {
  int64_t rows, channels;
  const S* input;
  const T *scale, *shift;
  const S* residual;
  S* result;
  bool adds_residual;
};

// sums = those of the gradient where scale * input + shift > 0, and of the same times (input - mean).
template <typename S, typename T = Computed<S>>
struct NormSums {
  int64_t rows, channels;
  const S *gradient, *input;
  const T *scale, *shift, *mean;
  double* sums;
};

// input_gradient = scale * [scale * input + shift > 0] * gradient + slope * (input - mean) + constant.
template <typename S, typename T = Computed<S>>
struct NormBackward {
  int64_t rows, channels;
  const S *gradient, *input;
  const T *scale, *shift, *mean, *slope, *constant;
  S* input_gradient;
};

// result = the largest of the sources that each target reads; winners = its place among them. A NaN wins.
template <typename S, typename T = Computed<S>>
struct MaxForward {
  int64_t source_count, target_count, edges, length;
  const S* features;
  const int32_t *sources, *offsets;
  S* result;
  uint8_t* winners;
  bool wants_winners;
};

// features_gradient = sum of the gradients of the targets that a source won; `places` says where each target reads it.
template <typename S, typename T = Computed<S>>
struct MaxBackward {
  int64_t source_count, target_count, edges, length;
  const S* gradient;
  const uint8_t* winners;
  const int32_t* targets;
  const uint8_t* places;
  const int32_t* offsets;
  S* features_gradient;
};

// result = the largest of all rows, column by column; winners = the row it is in. A NaN wins.
template <typename S, typename T = Computed<S>>
struct OverallMax {
  int64_t rows, length;
  const S* features;
  S* result;
  int64_t* winners;
};

// result = places of the smallest numbers of each row, from the smallest on; the first of equal ones.
template <typename S, typename T = Computed<S>>
struct Smallest {
  int64_t rows, length, count;
  const S* features;
  int64_t* result;
};

}  // namespace
