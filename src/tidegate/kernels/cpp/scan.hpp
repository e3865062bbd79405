// A recurrent layer over time, forward and backward, for any cell.
//
// Rows (sequences) are taken longest first, in blocks of BLOCK, and a block goes through all of its time at once: its
// states stay in the nearest memory. A row that has ended is simply no longer in front. Forward, a tile of a few rows and
// a few vectors of units takes both products and the cell's functions in registers. Backward, gradients of the gates
// are written over what was kept, and gradients of weights are summed over CHUNK rows before they are added to the whole:
// long sums in one go lose digits. Blocks are dealt to LANES sums a model, which are added in order: the bits depend on
// the shape alone, not on threads.
#pragma once

#include <numeric>

#include "layer.hpp"
#include "tile.hpp"

namespace TIDEGATE_ISA {

using tidegate::Backward;
using tidegate::Forward;
using tidegate::Parallel;

constexpr int64_t BLOCK = 32, CHUNK = 128, LANES = 8;

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

// ------------------------------------------------------------------ forward

template <class Cell>
struct Step {  // one step of the rows of a block
  const Layer<Cell> &layer;
  int64_t row, wide;  // from one row of states, of slots, to the next
  const float *x, *before[2];
  float *slots, *after[2];
};

template <class Cell, int R, int J, bool KEEP>
__attribute__((noinline)) void forward_tile(const Step<Cell> &s, int64_t row, int64_t unit) {
  constexpr int G = Cell::gates, C = J * G;
  const Layer<Cell> &l = s.layer;
  const int64_t size = l.padded, stride = s.wide;
  float *slots = s.slots + row * stride + unit;
  Vec gate[R][C];
  for (int c = 0; c < C; c++) {
    const Vec b = load(l.hidden_bias + (c % G) * size + unit + c / G * WIDTH);
    for (int r = 0; r < R; r++) gate[r][c] = b;
  }
  multiply<R, C, G>(gate, s.before[0] + row * s.row, s.row, l.hidden_panels + unit * G * size, G * WIDTH * size, size);
  for (int c = 0; c < C; c++) {
    const Vec b = load(l.input_bias + (c % G) * size + unit + c / G * WIDTH);
    for (int r = 0; r < R; r++)
      if (c % G == Cell::apart) {
        store(slots + r * stride + Cell::apart_slot * size + c / G * WIDTH, gate[r][c]);
        gate[r][c] = b;
      } else {
        gate[r][c] += b;
      }
  }
  multiply<R, C, G>(gate, s.x + row * l.inputs, l.inputs, l.input_panels + unit * G * l.inputs, G * WIDTH * l.inputs,
                    l.inputs);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int j = 0; j < J; j++) {
      const int64_t at = (row + r) * s.row + unit + j * WIDTH;
      const float *before[2] = {s.before[0] + at, s.before[1] + at};
      float *after[2] = {s.after[0] + at, s.after[1] + at};
      Cell::template forward<KEEP>(gate[r] + j * G, slots + r * stride + j * WIDTH, size, before, after);
    }
}

// Rows `row` to `end` in tiles of R, as many vectors of units at once as fit, then fewer: the panels of a few units stay
// in the nearest memory while all rows pass by.
template <class Cell, int R, int J, bool KEEP>
void forward_units(const Step<Cell> &s, int64_t row, int64_t end, int64_t unit) {
  for (; unit + J * WIDTH <= s.layer.padded; unit += J * WIDTH)
    for (int64_t r = row; r < end; r += R) forward_tile<Cell, R, J, KEEP>(s, r, unit);
  if constexpr (J > 1) forward_units<Cell, R, J / 2, KEEP>(s, row, end, unit);
}

template <class Cell, int R, bool KEEP>
void forward_rows(const Step<Cell> &s, int64_t row, int64_t rows) {
  constexpr int J = std::min(8, std::max(1, ACCUMULATORS / (R * Cell::gates)));
  const int64_t end = row + (rows - row) / R * R;
  if (end > row) forward_units<Cell, R, J, KEEP>(s, row, end, 0);
  if constexpr (R > 1) forward_rows<Cell, R / 2, KEEP>(s, end, rows);
}

// As many rows in a tile as leave room for all gates of one vector of units.
template <class Cell>
constexpr int ROWS = std::min(ACCUMULATORS >= 24 ? 8 : 4, ACCUMULATORS / Cell::gates);

// A block's rows of x at step t, side by side.
inline void gather(float *to, const float *from, int64_t width, int64_t steps, const Order &order, int64_t block,
                   int64_t t, int64_t rows, int64_t room) {
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = order.row(block, i);
    std::copy_n(from + (row * steps + order.when(row, t)) * width, width, to + i * room);
  }
}

inline void scatter(float *to, const float *from, int64_t width, int64_t steps, const Order &order, int64_t block,
                    int64_t t, int64_t rows, int64_t room) {
  for (int64_t i = 0; i < rows; i++) {
    const int64_t row = order.row(block, i);
    std::copy_n(from + i * room, width, to + (row * steps + order.when(row, t)) * width);
  }
}

// What was not a step: zeros, as PyTorch's padding of packed sequences.
inline void blank(float *to, int64_t width, int64_t steps, const Order &order, int64_t row) {
  std::fill(to + (row * steps + order.length(row)) * width, to + (row + 1) * steps * width, 0.0f);
}

template <class Cell, bool KEEP>
void forward_block(const Shape &s, const Layer<Cell> &layer, const Order &order, int64_t model, int64_t block,
                   const Forward &f, const Tape<Cell> &tape, float *x) {
  const int64_t rows = tape.rows, H = s.hidden, I = s.inputs;
  const float *from = f.x + (s.shared ? 0 : model * s.rows * s.steps * I);
  for (int part = 0; part < Cell::parts; part++) {
    std::fill_n(tape.state(part, 0), rows * tape.row, 0.0f);
    for (int64_t i = 0; f.state[part] && i < rows; i++)
      std::copy_n(f.state[part] + (model * s.rows + order.row(block, i)) * H, H, tape.state(part, 0) + i * tape.row);
  }
  // Without a tape two states and one row of slots are enough: they take turns.
  auto turn = [](int64_t t) { return KEEP ? t : t & 1; };
  int64_t alive = rows;
  for (int64_t t = 0;; t++) {
    const int64_t left = order.alive(block, t, alive);
    for (int part = 0; part < Cell::parts && f.last[part]; part++)
      for (int64_t i = left; i < alive; i++)
        std::copy_n(tape.state(part, turn(t)) + i * tape.row, H,
                    f.last[part] + (model * s.rows + order.row(block, i)) * H);
    alive = left;
    if (alive == 0) break;
    gather(x, from, I, s.steps, order, block, t, alive, I);
    const Step<Cell> step{layer, tape.row, tape.wide, x, {tape.state(0, turn(t)), tape.state(Cell::parts - 1, turn(t))},
                          tape.slot(KEEP ? t : 0), {tape.state(0, turn(t + 1)), tape.state(Cell::parts - 1, turn(t + 1))}};
    forward_rows<Cell, ROWS<Cell>, KEEP>(step, 0, alive);
    if (f.y)
      scatter(f.y + model * s.rows * s.steps * H, tape.state(0, turn(t + 1)), H, s.steps, order, block, t, alive,
              tape.row);
  }
  for (int64_t i = 0; f.y && i < rows; i++)
    blank(f.y + model * s.rows * s.steps * H, H, s.steps, order, order.row(block, i));
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

template <class Cell>
void forward(const Shape &s, const Weights &w, const Forward &f, float *keep, const Parallel &parallel) {
  static thread_local Buffer packed, work;
  const Order order(s);
  const std::vector<int64_t> start = keep ? tapes<Cell>(s, order) : std::vector<int64_t>();
  const int64_t size = whole(s.hidden), each = (Layer<Cell>::floats(s.inputs, s.hidden, false) + 15) / 16 * 16;
  std::vector<Layer<Cell>> layers;
  float *at = packed.room(s.models * each);
  for (int64_t m = 0; m < s.models; m++) layers.emplace_back(s, w, m, false, at + m * each);
  parallel(s.models * order.blocks(), [&](int64_t item) {
    const FlushTiny flush;
    const int64_t m = item / order.blocks(), b = item % order.blocks(), rows = order.count(b);
    const int64_t steps = keep ? order.steps(b) : 1;
    float *x = work.room(rows * s.inputs + 16 + (keep ? 0 : Tape<Cell>::floats(rows, steps, size)));
    float *mine = keep ? keep + m * start.back() + start[b] : x + (rows * s.inputs + 15) / 16 * 16;
    const Tape<Cell> t(mine, rows, steps, size);
    keep ? forward_block<Cell, true>(s, layers[m], order, m, b, f, t, x)
         : forward_block<Cell, false>(s, layers[m], order, m, b, f, t, x);
    work.bound();
  });
  packed.bound();
}

// ------------------------------------------------------------------ backward

// out (rows, columns) of a tile: += gates (rows, K) times columns of weights.
template <int R, int C>
INLINE void back_product(Vec (&acc)[R][C], const float *gates, int64_t stride, const float *columns, int64_t K) {
  multiply<R, C, C>(acc, gates, stride, columns, 0, K);
}

template <class Cell>
struct BackStep {  // one step of a block on the way back
  const Layer<Cell> &layer;
  const Tape<Cell> &tape;
  int64_t t;
  const float *dy;    // (rows, padded) or null
  float *carry[2];    // (rows, padded) what flows to the state before this step, past the gates
  const float *next;  // gradients of the gates of step t + 1, or null
};

template <class Cell, int R, int C>
__attribute__((noinline)) void backward_tile(const BackStep<Cell> &s, int64_t row, int64_t unit) {
  const int64_t size = s.tape.padded, stride = s.tape.wide;
  Vec g[R][C];
  float *carry = s.carry[0] + row * size + unit;
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) g[r][c] = load(carry + r * size + c * WIDTH);
  if (s.next)
    back_product<R, C>(g, s.next + row * stride + Cell::first_hidden * size, stride,
                       s.layer.hidden_columns + unit * Cell::gates * size, Cell::gates * size);
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) {
      const int64_t at = (row + r) * size + unit + c * WIDTH;
      if (s.t < 0) {  // before the first step: this is the gradient of the first state
        store(s.carry[0] + at, g[r][c]);
        continue;
      }
      const int64_t in = (row + r) * s.tape.row + unit + c * WIDTH;
      const float *before[2] = {s.tape.state(0, s.t) + in, s.tape.state(Cell::parts - 1, s.t) + in};
      const float *after[2] = {s.tape.state(0, s.t + 1) + in, s.tape.state(Cell::parts - 1, s.t + 1) + in};
      float *slot = s.tape.slot(s.t) + (row + r) * stride + unit + c * WIDTH;
      const Vec a = s.dy ? g[r][c] + load(s.dy + at) : g[r][c];
      store(s.carry[0] + at, Cell::backward(a, slot, size, before, after, s.carry[1] + at));
    }
}

constexpr int BACK_ROWS = ACCUMULATORS / TILE;

template <class Cell, int C, int R>
void backward_rows(const BackStep<Cell> &s, int64_t row, int64_t rows, int64_t unit) {
  for (; row + R <= rows; row += R) backward_tile<Cell, R, C>(s, row, unit);
  if constexpr (R > 1) backward_rows<Cell, C, R / 2>(s, row, rows, unit);
}

template <class Cell>
void backward_step(const BackStep<Cell> &s, int64_t row, int64_t rows) {
  for (int64_t unit = 0; unit < s.tape.padded; unit += TILE * WIDTH) switch ((s.tape.padded - unit) / WIDTH) {
      case 1: backward_rows<Cell, 1, BACK_ROWS>(s, row, rows, unit); break;
      case 2: backward_rows<Cell, 2, BACK_ROWS>(s, row, rows, unit); break;
      default: backward_rows<Cell, TILE, BACK_ROWS>(s, row, rows, unit);
    }
}

// to (rows, width) = gates (rows, K) times columns of weights.
template <int C, int R>
void product_rows(float *to, int64_t width, const float *gates, int64_t stride, const float *columns, int64_t K,
                  int64_t row, int64_t rows) {
  for (; row + R <= rows; row += R) {
    Vec acc[R][C] = {};
    back_product<R, C>(acc, gates + row * stride, stride, columns, K);
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) store(to + (row + r) * width + c * WIDTH, acc[r][c]);
  }
  if constexpr (R > 1) product_rows<C, R / 2>(to, width, gates, stride, columns, K, row, rows);
}

inline void product(float *to, int64_t width, const float *gates, int64_t stride, const float *columns, int64_t K,
                    int64_t rows) {
  for (int64_t c = 0; c < width; c += TILE * WIDTH) switch ((width - c) / WIDTH) {
      case 1: product_rows<1, BACK_ROWS>(to + c, width, gates, stride, columns + c * K, K, 0, rows); break;
      case 2: product_rows<2, BACK_ROWS>(to + c, width, gates, stride, columns + c * K, K, 0, rows); break;
      default: product_rows<TILE, BACK_ROWS>(to + c, width, gates, stride, columns + c * K, K, 0, rows);
    }
}

// Rows of several steps: of step i there are rows[i], each step `a_step` and `g_step` from the last.
struct Stretch {
  const float *a, *g;
  int64_t a_row, a_step, g_row, g_step, steps;
  const int64_t *rows;
};

template <int C, int R>
void outer_tiles(float *sum, int64_t wide, const Stretch &s, int64_t first, int64_t count) {
  for (; first + R <= count; first += R) {
    Vec acc[R][C] = {};
    for (int64_t i = 0; i < s.steps; i++)
      outer<R, C>(acc, s.a + i * s.a_step + first, s.a_row, s.g + i * s.g_step, s.g_row, s.rows[i]);
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        float *to = sum + (first + r) * wide + c * WIDTH;
        store(to, load(to) + acc[r][c]);
      }
  }
  if constexpr (R > 1) outer_tiles<C, R / 2>(sum, wide, s, first, count);
}

// sum (count, wide) += a' g over all rows of a stretch.
inline void add_outer(float *sum, int64_t count, int64_t wide, Stretch s) {
  const float *g = s.g;
  for (int64_t c = 0; c < wide; c += TILE * WIDTH) {
    s.g = g + c;
    switch ((wide - c) / WIDTH) {
      case 1: outer_tiles<1, BACK_ROWS>(sum + c, wide, s, 0, count); break;
      case 2: outer_tiles<2, BACK_ROWS>(sum + c, wide, s, 0, count); break;
      default: outer_tiles<TILE, BACK_ROWS>(sum + c, wide, s, 0, count);
    }
  }
}

// sum (wide,) += the rows of g.
inline void add_rows(float *sum, int64_t wide, const Stretch &s) {
  for (int64_t c = 0; c < wide; c += WIDTH) {
    Vec acc{};
    for (int64_t i = 0; i < s.steps; i++)
      for (int64_t row = 0; row < s.rows[i]; row++) acc += load(s.g + i * s.g_step + row * s.g_row + c);
    store(sum + c, load(sum + c) + acc);
  }
}

// A lane's gradients of weights: (K, gates * padded) for both products, (gates * padded) for both biases.
template <class Cell>
struct Sums {
  int64_t inputs, hidden, wide;
  float *at;

  static int64_t floats(int64_t inputs, int64_t hidden) { return Cell::gates * whole(hidden) * (inputs + hidden + 2); }
  float *w_h() const { return at; }
  float *w_x() const { return at + hidden * wide; }
  float *b_h() const { return w_x() + inputs * wide; }
  float *b_x() const { return b_h() + wide; }

  void add(const Tape<Cell> &t, int64_t first, int64_t steps, const int64_t *alive, const float *x) const {
    const int64_t size = t.padded;
    Stretch s{t.state(0, first), t.slot(first) + Cell::first_hidden * size, t.row, t.rows * t.row, t.wide,
              t.rows * t.wide, steps, alive};
    add_outer(w_h(), hidden, wide, s);
    add_rows(b_h(), wide, s);
    s.a = x, s.a_row = inputs, s.a_step = t.rows * inputs;
    s.g = t.slot(first) + Cell::first_input * size;
    add_outer(w_x(), inputs, wide, s);
    if (Cell::first_input != Cell::first_hidden || Cell::apart >= 0) add_rows(b_x(), wide, s);
    else std::copy_n(b_h(), wide, b_x());
  }
};

template <class Cell>
void backward_block(const Shape &s, const Layer<Cell> &layer, const Order &order, int64_t model, int64_t block,
                    const Backward &f, const Tape<Cell> &tape, const Sums<Cell> &sums, Buffer &memory) {
  const int64_t rows = tape.rows, size = tape.padded, H = s.hidden, I = s.inputs, offset = model * s.rows;
  const int64_t chunk = std::max<int64_t>(1, CHUNK / rows);
  float *at = memory.room(rows * size * 3 + chunk * rows * I + rows * whole(I) + 64);
  float *dy = at, *dx = at + 3 * rows * size, *x = dx + rows * whole(I);
  BackStep<Cell> step{layer, tape, 0, f.dy ? dy : nullptr, {at + rows * size, at + 2 * rows * size}, nullptr};
  std::fill_n(at, 3 * rows * size, 0.0f);
  for (int part = 0; part < Cell::parts; part++)
    for (int64_t i = 0; f.dlast[part] && i < rows; i++)
      std::copy_n(f.dlast[part] + (offset + order.row(block, i)) * H, H, step.carry[part] + i * size);
  const float *from = f.x + (s.shared ? 0 : offset * s.steps * I);
  std::vector<int64_t> alive(tape.steps + 1, 0);
  for (int64_t t = 0, n = rows; t < tape.steps; t++) alive[t] = n = order.alive(block, t, n);
  int64_t end = tape.steps;
  for (int64_t t = tape.steps - 1; t >= -1; t--) {
    step.t = t;
    if (t >= 0 && f.dy) gather(dy, f.dy + offset * s.steps * H, H, s.steps, order, block, t, alive[t], size);
    step.next = t + 1 < tape.steps ? tape.slot(t + 1) : nullptr;
    backward_step(step, 0, alive[t + 1]);
    if (t < 0) break;
    step.next = nullptr;  // rows whose last step this is
    if (alive[t] > alive[t + 1]) backward_step(step, alive[t + 1], alive[t]);
    if (f.dx) {
      product(dx, whole(I), tape.slot(t) + Cell::first_input * size, tape.wide, layer.input_columns,
              Cell::gates * size, alive[t]);
      scatter(f.dx + offset * s.steps * I, dx, I, s.steps, order, block, t, alive[t], whole(I));
    }
    if (end - t == chunk || t == 0) {
      for (int64_t i = t; i < end; i++) gather(x + (i - t) * rows * I, from, I, s.steps, order, block, i, alive[i], I);
      sums.add(tape, t, end - t, alive.data() + t, x);
      end = t;
    }
  }
  for (int part = 0; part < Cell::parts; part++)
    for (int64_t i = 0; f.dstate[part] && i < rows; i++)
      std::copy_n(step.carry[part] + i * size, H, f.dstate[part] + (offset + order.row(block, i)) * H);
  for (int64_t i = 0; f.dx && i < rows; i++) blank(f.dx + offset * s.steps * I, I, s.steps, order, order.row(block, i));
}

// A model's sums, transposed into PyTorch's layout.
template <class Cell>
void unpack(const Sums<Cell> &sums, int64_t model, const Backward &f) {
  const int64_t H = sums.hidden, rows = Cell::gates * H, size = whole(H);
  auto matrix = [&](float *to, const float *from, int64_t K, const int *slot, int first) {
    for (int64_t gate = 0; to && gate < Cell::gates; gate++)
      for (int64_t unit = 0; unit < H; unit++)
        for (int64_t k = 0; k < K; k++)
          to[(model * rows + gate * H + unit) * K + k] = from[k * sums.wide + (slot[gate] - first) * size + unit];
  };
  matrix(f.dw_h, sums.w_h(), H, Cell::hidden_slot, Cell::first_hidden);
  matrix(f.dw_x, sums.w_x(), sums.inputs, Cell::input_slot, Cell::first_input);
  matrix(f.db_h, sums.b_h(), 1, Cell::hidden_slot, Cell::first_hidden);
  matrix(f.db_x, sums.b_x(), 1, Cell::input_slot, Cell::first_input);
}

template <class Cell>
void backward(const Shape &s, const Weights &w, const Backward &f, float *kept, const Parallel &parallel) {
  static thread_local Buffer packed, totals, work;
  const Order order(s);
  const std::vector<int64_t> start = tapes<Cell>(s, order);
  const int64_t size = whole(s.hidden), each = (Layer<Cell>::floats(s.inputs, s.hidden, true) + 15) / 16 * 16;
  const int64_t lanes = std::min(LANES, order.blocks()), sum = (Sums<Cell>::floats(s.inputs, s.hidden) + 15) / 16 * 16;
  std::vector<Layer<Cell>> layers;
  float *at = packed.room(s.models * each), *total = totals.zeros(s.models * std::max<int64_t>(lanes, 1) * sum);
  for (int64_t m = 0; m < s.models; m++) layers.emplace_back(s, w, m, true, at + m * each);
  auto sums = [&](int64_t m, int64_t lane) {
    return Sums<Cell>{s.inputs, s.hidden, Cell::gates * size, total + (m * lanes + lane) * sum};
  };
  parallel(s.models * lanes, [&](int64_t item) {
    const FlushTiny flush;
    const int64_t m = item / lanes, lane = item % lanes;
    for (int64_t b = lane; b < order.blocks(); b += lanes)
      backward_block(s, layers[m], order, m, b, f,
                     Tape<Cell>(kept + m * start.back() + start[b], order.count(b), order.steps(b), size),
                     sums(m, lane), work);
    work.bound();
  });
  for (int64_t m = 0; m < s.models; m++) {
    for (int64_t lane = 1; lane < lanes; lane++)
      for (int64_t i = 0; i < sum; i++) sums(m, 0).at[i] += sums(m, lane).at[i];
    unpack(sums(m, 0), m, f);
  }
  packed.bound(), totals.bound();
}

}  // namespace TIDEGATE_ISA
