// Blocks of nodes: how many nodes they have, the memory that threads keep for them, and the sums over edges.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdlib>

#include "vectors.h"

namespace {

constexpr int64_t kBlockBytes = 64 << 10;  // of each operand of a block: a few of them fit into half a megabyte
constexpr int64_t kLeastRows = 96;         // a block's weights are read once for at least so many rows

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

// Nodes in blocks, so that the operands of a block stay in the cache and its weights are read for many rows at once.
struct Blocks {
  int64_t nodes, batch, size, count;  // `size` is that of a block, in nodes

  template <typename T>
  static Blocks of(int64_t nodes, int64_t batch, int64_t depth, int64_t columns, int64_t bytes = kBlockBytes) {
    const int64_t widest = std::max<int64_t>({1, depth, columns});
    const int64_t rows = std::max<int64_t>(kLeastRows, bytes / static_cast<int64_t>(sizeof(T)) / widest);
    const int64_t size = std::max<int64_t>(1, rows / std::max<int64_t>(1, batch));
    return {nodes, batch, size, (nodes + size - 1) / size};
  }
  int64_t first(int64_t block) const { return block * size; }
  int64_t last(int64_t block) const { return std::min(nodes, first(block) + size); }
  int64_t rows(int64_t block) const { return (last(block) - first(block)) * batch; }
  int64_t most_rows() const { return size * batch; }
};

// Node v reads, or is read by, nodes[offsets[v]] to nodes[offsets[v + 1] - 1], each below `limit`.
struct Edges {
  const int32_t *nodes, *offsets;
  int64_t count, limit;

  const int32_t* of(int64_t node) const { return nodes + offsets[node]; }
  int64_t degree(int64_t node) const { return offsets[node + 1] - offsets[node]; }
  // Whether all that belongs to a node can be read.
  bool fine(int64_t node) const {
    if (offsets[node] < 0 || offsets[node] > offsets[node + 1] || offsets[node + 1] > count) return false;
    bool inside = true;
    for (int64_t e = offsets[node]; e < offsets[node + 1]; ++e) inside &= nodes[e] >= 0 && nodes[e] < limit;
    return inside;
  }
};

// to (length) = sum of the rows of x that `sources` name.
template <typename S, typename T = Computed<S>>
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

// The same for the nodes of a block, one after the other; false where an edge leads nowhere.
template <typename S, typename T = Computed<S>>
bool sum_block(const S* x, int64_t length, const Edges& edges, int64_t first, int64_t last, T* to) {
  for (int64_t node = first; node < last; ++node, to += length) {
    if (!edges.fine(node)) return false;
    sum_rows(x, length, edges.of(node), edges.degree(node), to);
  }
  return true;
}

// Where a block's result is computed: in its place, or in the workspace, from which `put` converts it.
template <typename S, typename T = Computed<S>>
T* writable(S* place, int64_t count) {
  if constexpr (std::is_same_v<S, T>)
    return place;
  else
    return workspace<T>(kWritten, count);
}
template <typename S, typename T = Computed<S>>
void put(const T* from, S* to, int64_t count) {
  if constexpr (!std::is_same_v<S, T>) convert(from, to, count);
}

// What the rows of a product begin with: a bias, or zeros, with room to read a whole panel beyond the end.
template <typename T>
const T* start_row(const T* bias, int64_t columns) {
  return std::copy_n(bias, columns, workspace<T>(kStart, columns)) - columns;
}
template <typename T>
const T* start_row(int64_t columns) {
  return std::fill_n(workspace<T>(kStart, columns), columns, T(0)) - columns;
}

// Sums from zero for each thread, added up in the order of the threads.
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

}  // namespace
