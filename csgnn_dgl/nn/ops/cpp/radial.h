// Convolutions along the radial edges: any number of taps, a sphere at a time.
#pragma once

#include "radial_pairs.h"

namespace {

template <typename S, typename T = Computed<S>>
bool radial_forward(const RadialForward<S>& a) {
  const int64_t depth = a.in_channels, columns = a.out_channels, taps = a.taps, spheres = a.spheres, reach = taps / 2;
  if constexpr (!kHasTwins<S>)
    if (in_pairs(spheres, taps, depth)) return radial_pairs_forward(a);
  const Panels<S> panels(a.weight, taps, depth * columns, depth, columns, columns, 1);
  const Blocks blocks = Blocks::of<T>(a.vertices, a.batch, depth, columns);
  const Line<T> line{a.on_line, a.line_scale, a.line_shift};
  After<S> after(a, blocks.count * spheres);
#pragma omp parallel
  {
    using O = Operand<S>;
    const int64_t slot = blocks.most_rows() * panels.steps();
    // Features as they lie in memory may be operands already.
    const bool in_place = !a.on_line && (std::is_same_v<S, T> || (kHasTwins<S> && depth == 2 * panels.steps()));
    O* ring = workspace<O>(kSums, in_place ? 0 : taps * slot);
    const T* start = start_row(a.bias, columns);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t first = blocks.first(block), rows = blocks.rows(block);
      const auto place = [&](int64_t sphere) { return a.features + (sphere * a.vertices + first) * a.batch * depth; };
      const auto fill = [&](int64_t sphere) {
        if (in_place) return;
        O* to = ring + sphere % taps * slot;
        if constexpr (kHasTwins<S>)
          left_operand<S>(line.readable(place(sphere), rows, depth), rows, depth, to);
        else
          line.read_rows(place(sphere), to, rows, depth);
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
        const int64_t offset = (sphere * a.vertices + first) * a.batch * columns;
        T* to = writable(a.result + offset, rows * columns);
        multiply<S>(rows, count, left, which, panels, start, to, columns);
        after.finish(block * spheres + sphere, to, offset, rows);
      }
    }
  }
  after.combine();
  return true;
}

// The gradient of the result is made block by block: the ring holds it for the spheres that a tap reaches.
template <typename S, typename T = Computed<S>>
bool radial_backward(const RadialBackward<S>& a) {
  const int64_t depth = a.in_channels, columns = a.out_channels, taps = a.taps, spheres = a.spheres, reach = taps / 2;
  if constexpr (!kHasTwins<S>)
    if (in_pairs(spheres, taps, columns)) return radial_pairs_backward(a);
  const Panels<S> panels(a.weight, taps, depth * columns, columns, depth, 1, columns);
  const Blocks blocks = Blocks::of<T>(a.vertices, a.batch, depth, columns);
  const Partial<T> partial(taps * depth * columns);
  const Line<T> line{a.on_line, a.scale, a.shift};
  const NormGradient<T> norm{a.after_norm, a.norm_scale, a.norm_shift, a.norm_mean, a.norm_slope, a.norm_constant};
  Before<S> before(a, blocks.count * spheres);
#pragma omp parallel num_threads(partial.threads())
  {
    using O = Operand<S>;
    // dy of the spheres that a tap reaches: as it is, which is what both products take, or as the operands of each.
    const int64_t slot = blocks.most_rows() * columns, twins = blocks.most_rows() * panels.steps();
    T *own = partial.own(), *ring = workspace<T>(kSums, (kHasTwins<S> ? 1 : taps) * slot);
    O* lefts = twins_for<S>(kTwins, taps * twins);
    O* outer_rights = twins_for<S>(kOuterRight, taps * slot);
    O* outer_left = twins_for<S>(kOuterLeft, blocks.most_rows() * depth);
    const T* start = start_row<T>(depth);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t first = blocks.first(block), rows = blocks.rows(block);
      const auto fill = [&](int64_t sphere) {
        const int64_t offset = (sphere * a.vertices + first) * a.batch * columns, at = sphere % taps;
        T* to = ring + (kHasTwins<S> ? 0 : at * slot);
        norm.apply(a.gradient + offset, a.result + offset, to, rows, columns);
        if constexpr (kHasTwins<S>) {
          left_operand<S>(to, rows, columns, lefts + at * twins);
          outer_operand<S>(to, rows, columns, outer_rights + at * slot);
        }
      };
      for (int64_t sphere = 0; sphere < std::min(reach, spheres); ++sphere) fill(sphere);
      for (int64_t sphere = 0; sphere < spheres; ++sphere) {
        if (sphere + reach < spheres) fill(sphere + reach);
        const int64_t offset = (sphere * a.vertices + first) * a.batch * depth;
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
            outer_operand<S>(line.readable(a.features + offset, rows, depth), rows, depth, outer_left);
        for (int tap = 0; tap < count; ++tap)
          add_outer<S>(rows, input, depth, outer_right[tap], columns, own + which[tap] * depth * columns);
        if (!a.wants_features) continue;
        T* to = writable(a.features_gradient + offset, rows * depth);
        multiply<S>(rows, count, left, which, panels, start, to, depth);
        before.finish(block * spheres + sphere, to, offset, rows);
      }
    }
  }
  partial.add_to(a.weight_gradient);
  before.combine();
  return true;
}

}  // namespace
