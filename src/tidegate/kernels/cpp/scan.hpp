// How a recurrent layer goes through time, for any cell; forward.hpp and backward.hpp do the arithmetic.
//
// Rows (sequences) are taken longest first, in blocks of BLOCK, and a block goes through all of its time at once: its
// states stay in the nearest memory. A row that has ended is simply no longer in front. What forward leaves for backward
// lies on a tape, a block after the other.
#pragma once

#include <numeric>

#include "layer.hpp"

namespace TIDEGATE_ISA {

constexpr int64_t BLOCK = 32, LOOK = 256;  // rows of a block; steps after which a block asks whether to go on

// Which rows there are, longest first, and how many of a block have step t.
class Order {
 public:
  explicit Order(const Shape &s) : shape_(s), row_(s.rows) {
    std::iota(row_.begin(), row_.end(), 0);
    if (s.lengths)
      std::stable_sort(row_.begin(), row_.end(), [&](int64_t a, int64_t b) { return s.lengths[a] > s.lengths[b]; });
  }
  int64_t blocks() const { return (shape_.rows + BLOCK - 1) / BLOCK; }
  int64_t count(int64_t block) const { return std::min(BLOCK, shape_.rows - block * BLOCK); }
  int64_t row(int64_t block, int64_t i) const { return row_[block * BLOCK + i]; }
  int64_t length(int64_t row) const { return shape_.lengths ? shape_.lengths[row] : shape_.steps; }
  int64_t steps(int64_t block) const { return length(row(block, 0)); }
  int64_t alive(int64_t block, int64_t t, int64_t from) const {  // `from`: at least so many are not
    while (from > 0 && length(row(block, from - 1)) <= t) from--;
    return from;
  }
  // Where step t of a row lies in its T steps.
  int64_t when(int64_t row, int64_t t) const { return shape_.reverse ? length(row) - 1 - t : t; }

 private:
  const Shape &shape_;
  std::vector<int64_t> row_;
};

// How far apart to put rows of so many floats: rows a power of two apart fall into the same few places of a cache.
inline int64_t spread(int64_t floats) { return floats % 128 == 0 ? floats + 16 : floats; }

// One block's memory: `states` (parts, steps + 1, rows, row) and `slots` (steps, rows, wide); of a row of states the first
// `padded` floats are used, of a row of slots the first kept * padded.
template <class Cell>
struct Tape {
  int64_t rows, steps, padded, row, wide;
  float *states, *slots;

  Tape(float *at, int64_t rows, int64_t steps, int64_t padded)
      : rows(rows), steps(steps), padded(padded), row(spread(padded)), wide(spread(Cell::kept * padded)), states(at),
        slots(at + Cell::parts * (steps + 1) * rows * row) {}
  static int64_t floats(int64_t rows, int64_t steps, int64_t padded) {
    return rows * (Cell::parts * (steps + 1) * spread(padded) + steps * spread(Cell::kept * padded));
  }
  float *state(int part, int64_t t) const { return states + (part * (steps + 1) + t) * rows * row; }
  float *slot(int64_t t) const { return slots + t * rows * wide; }
};

// A few floats: memcpy takes longer to be called than to do this.
INLINE void copy(const float *from, int64_t count, float *to) {
  int64_t i = 0;
  for (; i + WIDTH <= count; i += WIDTH) store(to + i, load(from + i));
  for (; i < count; i++) to[i] = from[i];
}

// A block's rows of x at step t, side by side.
inline void gather(float *to, const float *from, int64_t width, int64_t steps, const Order &order, int64_t block,
                   int64_t t, int64_t rows, int64_t room) {
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = order.row(block, i);
    copy(from + (row * steps + order.when(row, t)) * width, width, to + i * room);
  }
}

inline void scatter(float *to, const float *from, int64_t width, int64_t steps, const Order &order, int64_t block,
                    int64_t t, int64_t rows, int64_t room) {
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = order.row(block, i);
    copy(from + i * room, width, to + (row * steps + order.when(row, t)) * width);
  }
}

// What was not a step: zeros, as PyTorch's padding of packed sequences.
inline void blank(float *to, int64_t width, int64_t steps, const Order &order, int64_t row) {
  std::fill(to + (row * steps + order.length(row)) * width, to + (row + 1) * steps * width, 0.0f);
}

// Where each block's tape begins, and how long they are together for one model.
template <class Cell>
std::vector<int64_t> tapes(const Shape &s, const Order &order) {
  std::vector<int64_t> start(order.blocks() + 1, 0);
  for (int64_t b = 0; b < order.blocks(); b++)
    start[b + 1] = start[b] + Tape<Cell>::floats(order.count(b), order.steps(b), whole(s.hidden));
  return start;
}

template <class Cell>
int64_t kept(const Shape &s) {
  return s.models * tapes<Cell>(s, Order(s)).back();
}

}  // namespace TIDEGATE_ISA
