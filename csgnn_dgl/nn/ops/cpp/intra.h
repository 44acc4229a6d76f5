// Convolutions over the vertices of each sphere.
#pragma once

#include "norm.h"
#include "products.h"

namespace {

template <typename S, typename T = Computed<S>>
bool intra_forward(const IntraForward<S>& a) {
  const int64_t depth = a.in_channels, columns = a.out_channels;
  const Panels<S> panels(a.weight, 1, 0, depth, columns, columns, 1);
  const Blocks blocks = Blocks::of<T>(a.nodes, a.batch, depth, columns);
  const Edges edges{a.sources, a.offsets, a.edges, a.nodes};
  After<S> after(a, blocks.count);
  bool fine = true;
#pragma omp parallel reduction(&& : fine)
  {
    T* sums = workspace<T>(kSums, blocks.most_rows() * depth);
    const T* start = start_row(a.bias, columns);
    Operand<S>* twins = twins_for<S>(kTwins, blocks.most_rows() * panels.steps());
    const int which[1] = {0};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t first = blocks.first(block), rows = blocks.rows(block), offset = first * a.batch * columns;
      fine &= sum_block(a.features, a.batch * depth, edges, first, blocks.last(block), sums);
      T* to = writable(a.result + offset, rows * columns);
      const Operand<S>* left[1] = {left_operand<S>(sums, rows, depth, twins)};
      multiply<S>(rows, 1, left, which, panels, start, to, columns);
      after.finish(block, to, offset, rows);
    }
  }
  after.combine();
  return fine;
}

template <typename S, typename T = Computed<S>>
bool intra_backward(const IntraBackward<S>& a) {
  const int64_t depth = a.in_channels, columns = a.out_channels;
  const Panels<S> panels(a.weight, 1, 0, columns, depth, 1, columns);
  const Blocks blocks = Blocks::of<T>(a.nodes, a.batch, depth, columns);
  const Edges edges{a.targets, a.offsets, a.edges, a.nodes};
  const Partial<T> partial(depth * columns);
  const Line<T> line{a.on_line, a.scale, a.shift};
  Before<S> before(a, blocks.count);
  bool fine = true;
#pragma omp parallel num_threads(partial.threads()) reduction(&& : fine)
  {
    T *own = partial.own(), *sums = workspace<T>(kSums, blocks.most_rows() * columns);
    const T* start = start_row<T>(depth);
    Operand<S>* twins = twins_for<S>(kTwins, blocks.most_rows() * panels.steps());
    Operand<S>* outer_left = twins_for<S>(kOuterLeft, blocks.most_rows() * depth);
    Operand<S>* outer_right = twins_for<S>(kOuterRight, blocks.most_rows() * columns);
    const int which[1] = {0};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t first = blocks.first(block), rows = blocks.rows(block), offset = first * a.batch * depth;
      fine &= sum_block(a.gradient, a.batch * columns, edges, first, blocks.last(block), sums);
      const T* input = line.readable(a.features + offset, rows, depth);
      add_outer<S>(rows, outer_operand<S>(input, rows, depth, outer_left), depth,
                   outer_operand<S>(sums, rows, columns, outer_right), columns, own);
      if (!a.wants_features) continue;
      T* to = writable(a.features_gradient + offset, rows * depth);
      const Operand<S>* left[1] = {left_operand<S>(sums, rows, columns, twins)};
      multiply<S>(rows, 1, left, which, panels, start, to, depth);
      if (a.adds_residual)
        for_lanes<T, 1>(rows * depth, [&](int64_t i, auto vectors) {
          Lanes<T, vectors()> sum = Lanes<T, vectors()>::from(to + i);
          sum.value[0] += Lanes<T, vectors()>::from(a.residual + offset + i).value[0];
          sum.to(to + i);
        });
      before.finish(block, to, offset, rows);
    }
  }
  partial.add_to(a.weight_gradient);
  before.combine();
  return fine;
}

}  // namespace
