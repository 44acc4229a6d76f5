// Convolutions along the radial edges with three taps, two spheres at once: four products instead of six, as
// `multiply_pair` has them.
#pragma once

#include "norm.h"
#include "products.h"

namespace {

constexpr int64_t kPairBytes = 32 << 10;  // of each operand, where four spheres of a block are at work
constexpr int64_t kPairDepth = 32;        // products of less depth gain nothing from pairs of spheres

// Whether products of this depth are made for pairs of spheres; of twins they never are.
inline bool in_pairs(int64_t spheres, int64_t taps, int64_t depth) {
  return taps == 3 && spheres > 1 && depth >= kPairDepth;
}

// The spheres r - 1 ... r + 2 about a pair r, r + 1; zeros stand for those that are not there.
template <typename X>
struct Four {
  bool there[4];
  const X* rows[4];

  // `place(sphere)` says where the rows of a sphere are.
  template <typename Place>
  Four(int64_t sphere, int64_t spheres, const Place& place) {
    for (int64_t part = 0; part < 4; ++part) {
      const int64_t other = sphere + part - 1;
      there[part] = other >= 0 && other < spheres;
      rows[part] = there[part] ? place(other) : nullptr;
    }
  }
};

// Four spheres x0 ... x3 as they enter the products: x0 - x2, x1 + x2, x2 - x1, x1 - x3, `slot` apart.
template <typename X, typename T>
void pair_input(const Four<X>& x, const Line<T>& line, T* to, int64_t slot, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row, to += columns)
    for_lanes<T, 1>(columns, [&](int64_t c, auto vectors) {
      using Group = Lanes<T, vectors()>;
      const auto read = [&](int part) {
        return x.there[part] ? line.template read<vectors()>(x.rows[part] + row * columns, c) : Group{};
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

// Where the results of a pair are computed: in their place, or one after the other in `results`. The second of a pair
// that is not there is computed and left.
template <typename S, typename T>
struct Pair {
  int64_t offset[2], count;
  T* to[2];

  Pair(int64_t sphere, int64_t spheres, int64_t vertices, int64_t first, int64_t row, S* place, T* results,
       int64_t written)
      : count(std::min<int64_t>(2, spheres - sphere)) {
    for (int64_t part = 0; part < 2; ++part) {
      offset[part] = ((sphere + part) * vertices + first) * row;
      to[part] = results + part * written;
      if constexpr (std::is_same_v<S, T>)
        if (part < count) to[part] = place + offset[part];
    }
  }
};

// The sphere beyond an odd number of them is computed and left.
template <typename S, typename T = Computed<S>>
bool radial_pairs_forward(const RadialForward<S>& a) {
  const int64_t depth = a.in_channels, columns = a.out_channels, size = depth * columns, spheres = a.spheres;
  const Panels<T> panels(pair_weights(a.weight, size, false), 4, size, depth, columns, columns, 1);
  const Blocks blocks = Blocks::of<T>(a.vertices, a.batch, depth, columns, kPairBytes);
  const Line<T> line{a.on_line, a.line_scale, a.line_shift};
  After<S> after(a, blocks.count * spheres);
#pragma omp parallel
  {
    const int64_t slot = blocks.most_rows() * depth, written = blocks.most_rows() * columns;
    T *input = workspace<T>(kSums, 4 * slot), *results = workspace<T>(kWritten, 2 * written);
    const T *start = start_row(a.bias, columns), *left[4] = {input, input + slot, input + 2 * slot, input + 3 * slot};
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t first = blocks.first(block), rows = blocks.rows(block);
      for (int64_t sphere = 0; sphere < spheres; sphere += 2) {
        const Four<S> read(sphere, spheres, [&](int64_t other) {
          return a.features + (other * a.vertices + first) * a.batch * depth;
        });
        pair_input(read, line, input, slot, rows, depth);
        const Pair<S, T> pair(sphere, spheres, a.vertices, first, a.batch * columns, a.result, results, written);
        multiply_pair(rows, left, panels, start, pair.to[0], pair.to[1], columns);
        for (int64_t part = 0; part < pair.count; ++part)
          after.finish(block * spheres + sphere + part, pair.to[part], pair.offset[part], rows);
      }
    }
  }
  after.combine();
  return true;
}

// The gradient of the weights is that of the four that enter the products.
template <typename S, typename T = Computed<S>>
bool radial_pairs_backward(const RadialBackward<S>& a) {
  const int64_t depth = a.in_channels, columns = a.out_channels, size = depth * columns, spheres = a.spheres;
  const Panels<T> panels(pair_weights(a.weight, size, true), 4, size, columns, depth, 1, columns);
  const Blocks blocks = Blocks::of<T>(a.vertices, a.batch, depth, columns, kPairBytes);
  const Partial<T> partial(4 * size);
  const Line<T> line{a.on_line, a.scale, a.shift};
  const NormGradient<T> norm{a.after_norm, a.norm_scale, a.norm_shift, a.norm_mean, a.norm_slope, a.norm_constant};
  Before<S> before(a, blocks.count * spheres);
#pragma omp parallel num_threads(partial.threads())
  {
    const int64_t slot = blocks.most_rows() * depth, written = blocks.most_rows() * columns;
    // dy of four spheres in a ring, then as it enters the products, then the features as they enter them.
    T *own = partial.own(), *ring = workspace<T>(kSums, 8 * written + 4 * slot);
    T *gradients = ring + 4 * written, *inputs = ring + 8 * written, *results = workspace<T>(kWritten, 2 * slot);
    const T *start = start_row<T>(depth), *left[4];
    for (int64_t part = 0; part < 4; ++part) left[part] = gradients + part * written;
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t first = blocks.first(block), rows = blocks.rows(block);
      const auto fill = [&](int64_t sphere) {
        if (sphere >= spheres) return;
        const int64_t offset = (sphere * a.vertices + first) * a.batch * columns;
        norm.apply(a.gradient + offset, a.result + offset, ring + sphere % 4 * written, rows, columns);
      };
      fill(0);
      for (int64_t sphere = 0; sphere < spheres; sphere += 2) {
        fill(sphere + 1);
        fill(sphere + 2);
        const Four<T> dy(sphere, spheres, [&](int64_t other) { return ring + other % 4 * written; });
        const Four<S> read(sphere, spheres, [&](int64_t other) {
          return a.features + (other * a.vertices + first) * a.batch * depth;
        });
        pair_input(dy, Line<T>{false, nullptr, nullptr}, gradients, written, rows, columns);
        pair_input(read, line, inputs, slot, rows, depth);
        add_outer<T>(rows, inputs, depth, dy.rows[1], columns, own);
        add_outer<T>(rows, inputs + slot, depth, left[1], columns, own + size);
        add_outer<T>(rows, inputs + 2 * slot, depth, left[2], columns, own + 2 * size);
        if (dy.there[2]) add_outer<T>(rows, inputs + 3 * slot, depth, dy.rows[2], columns, own + 3 * size);
        if (!a.wants_features) continue;
        const Pair<S, T> pair(sphere, spheres, a.vertices, first, a.batch * depth, a.features_gradient, results, slot);
        multiply_pair(rows, left, panels, start, pair.to[0], pair.to[1], depth);
        for (int64_t part = 0; part < pair.count; ++part)
          before.finish(block * spheres + sphere + part, pair.to[part], pair.offset[part], rows);
      }
    }
  }
  std::vector<T> parts(4 * size);
  partial.add_to(parts.data());
  T* weight_gradient = a.weight_gradient;
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < size; ++i) {
    const T difference = (parts[size + i] - parts[2 * size + i]) / 2;
    weight_gradient[i] += parts[i] + difference;
    weight_gradient[size + i] += (parts[size + i] + parts[2 * size + i]) / 2;
    weight_gradient[2 * size + i] += difference - parts[3 * size + i];
  }
  before.combine();
  return true;
}

}  // namespace
