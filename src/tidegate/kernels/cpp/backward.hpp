// A recurrent layer backward, from the last step to the first.
//
//   carry = what the cell passes by + W_h' dgates(t+1) + dy(t)     then the cell, which writes dgates(t) over what was kept
//   dx(t) = W_x' dgates(t)     dW_h = sum dgates(t) h(t-1)'     dW_x = sum dgates(t) x(t)'     db = sum dgates(t)
//
// Gradients of weights are summed over CHUNK rows before they are added to the whole: long sums in one go lose digits.
// Blocks are dealt to LANES sums a model, which are added in order: the bits depend on the shape alone, not on threads.
#pragma once

#include "gates.hpp"
#include "scan.hpp"
#include "tile.hpp"

namespace TIDEGATE_ISA {

using tidegate::Backward;
using tidegate::Parallel;

constexpr int64_t CHUNK = 128, LANES = 8;

// Products with transposed weights, tile by tile. `Do` says what a tile starts with and what becomes of it, and has
// gates (null: no product), stride, columns, K, and width, the number of columns.
template <class Do, int R, int C>
__attribute__((noinline)) void back_tile(const Do &d, int64_t row, int64_t column) {
  Vec acc[R][C];
  d.start(acc, row, column);
  if (d.gates)
    multiply<R, C, std::min(C, TILE)>(acc, d.gates + row * d.stride, d.stride, d.columns + column * d.K,
                                      TILE * WIDTH * d.K, d.K);
  d.finish(acc, row, column);
}

template <class Do, int R, int P>  // P panels at once, then fewer, then the last, narrower one
void back_columns(const Do &d, int64_t row, int64_t end, int64_t column) {
  for (; column + P * TILE * WIDTH <= d.width; column += P * TILE * WIDTH)
    for (int64_t r = row; r < end; r += R) back_tile<Do, R, P * TILE>(d, r, column);
  if constexpr (P > 1) {
    back_columns<Do, R, P / 2>(d, row, end, column);
  } else if (column < d.width) {
    static_assert(TILE == 2);
    for (int64_t r = row; r < end; r += R) back_tile<Do, R, 1>(d, r, column);
  }
}

template <class Do, int R = ACCUMULATORS / TILE>
void back_rows(const Do &d, int64_t row, int64_t rows) {
  const int64_t end = row + (rows - row) / R * R;
  if (end > row) back_columns<Do, R, std::min(6, ACCUMULATORS / (R * TILE))>(d, row, end, 0);
  if constexpr (R > 1) back_rows<Do, (R + 1) / 2>(d, end, rows);
}

template <class Cell>
struct BackStep {  // one step of a block on the way back
  const Cell &cell;
  const Tape<Cell> &tape;
  int64_t t;
  const float *dy;  // null: none
  int64_t dy_row;
  float *carry[2];     // (rows, padded) what flows to the state before this step
  const float *gates;  // gradients of the gates of step t + 1, or null
  int64_t stride;
  const float *columns;
  int64_t K, width;

  template <int R, int C>
  INLINE void start(Vec (&g)[R][C], int64_t row, int64_t unit) const {
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) g[r][c] = load(carry[0] + (row + r) * width + unit + c * WIDTH);
  }

  template <int R, int C>
  INLINE void finish(Vec (&sums)[R][C], int64_t row, int64_t unit) const {
    in_groups<R, C>([&](auto n, int r, int c) ALWAYS {
      constexpr int N = n;
      const int64_t at = (row + r) * width + unit + c * WIDTH, step = R > 1 ? width : WIDTH;
      Group<N> g = Group<N>::of([&](int i) { return R > 1 ? sums[r + i][c] : sums[0][c + i]; });
      if (t < 0) return g.store(carry[0] + at, step);  // before the first step: the gradient of the first state
      if (dy) g = g + Group<N>(dy + (row + r) * dy_row + unit + c * WIDTH, R > 1 ? dy_row : WIDTH);
      const int64_t in = (row + r) * tape.row + unit + c * WIDTH;
      constexpr int last = Cell::parts - 1;
      const Place<N> place{tape.slot(t) + (row + r) * tape.wide + unit + c * WIDTH, width, R > 1 ? tape.wide : WIDTH,
                           {tape.state(0, t) + in, tape.state(last, t) + in},
                           {tape.state(0, t + 1) + in, tape.state(last, t + 1) + in}, R > 1 ? tape.row : WIDTH, true};
      Group<N> memory(carry[1] + at, step);
      cell.backward(g, place, memory).store(carry[0] + at, step);
      if constexpr (last) memory.store(carry[1] + at, step);
    });
  }
};

struct BackInput {  // the gradient of the input
  const float *gates;
  int64_t stride;
  const float *columns;
  int64_t K, width;
  float *to;  // (rows, width)

  template <int R, int C>
  INLINE void start(Vec (&acc)[R][C], int64_t, int64_t) const {
    for (auto &row : acc)
      for (Vec &v : row) v = Vec{};
  }
  template <int R, int C>
  INLINE void finish(Vec (&acc)[R][C], int64_t row, int64_t column) const {
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) store(to + (row + r) * width + column + c * WIDTH, acc[r][c]);
  }
};

// Rows of several steps: of step i there are rows[i], each step `a_step` and `g_step` from the last.
struct Stretch {
  const float *a, *g;
  int64_t a_row, a_step, g_row, g_step, steps;
  const int64_t *rows;
};

constexpr int WIDE = 3;  // vectors in a tile of gradients of weights

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
  if constexpr (R > 1) outer_tiles<C, (R + 1) / 2>(sum, wide, s, first, count);
}

// sum (count, wide) += a' g over all rows of a stretch.
inline void add_outer(float *sum, int64_t count, int64_t wide, Stretch s) {
  const float *g = s.g;
  for (int64_t c = 0; c < wide; c += WIDE * WIDTH) {
    s.g = g + c;
    switch ((wide - c) / WIDTH) {
      case 1: outer_tiles<1, ACCUMULATORS / WIDE>(sum + c, wide, s, 0, count); break;
      case 2: outer_tiles<2, ACCUMULATORS / WIDE>(sum + c, wide, s, 0, count); break;
      default: outer_tiles<WIDE, ACCUMULATORS / WIDE>(sum + c, wide, s, 0, count);
    }
  }
}

// sum (wide,) += the rows of g, several vectors at once: additions to one must wait for each other.
template <int C = 8>
void add_rows(float *sum, int64_t wide, const Stretch &s, int64_t column = 0) {
  for (; column + C * WIDTH <= wide; column += C * WIDTH) {
    Vec acc[C] = {};
    for (int64_t i = 0; i < s.steps; i++)
      for (int64_t row = 0; row < s.rows[i]; row++)
        for (int c = 0; c < C; c++) acc[c] += load(s.g + i * s.g_step + row * s.g_row + column + c * WIDTH);
    for (int c = 0; c < C; c++) store(sum + column + c * WIDTH, load(sum + column + c * WIDTH) + acc[c]);
  }
  if constexpr (C > 1) add_rows<C / 2>(sum, wide, s, column);
}

// A lane's gradients of weights: (K, gates * padded) for both products, (kept * padded) for the biases of both sides.
template <class Cell>
struct Sums {
  int64_t inputs, hidden, padded;
  float *at;

  static int64_t floats(int64_t inputs, int64_t hidden) {
    return (Cell::gates * (inputs + hidden) + Cell::kept) * whole(hidden);
  }
  int64_t wide() const { return Cell::gates * padded; }
  float *w_h() const { return at; }
  float *w_x() const { return at + hidden * wide(); }
  float *bias() const { return w_x() + inputs * wide(); }

  void add(const Tape<Cell> &t, int64_t first, int64_t steps, const int64_t *alive, const float *x, bool biased) const {
    Stretch s{t.state(0, first), t.slot(first), t.row, t.rows * t.row, t.wide, t.rows * t.wide, steps, alive};
    if (biased) add_rows(bias(), Cell::kept * padded, s);
    s.g = t.slot(first) + Cell::first_hidden * padded;
    add_outer(w_h(), hidden, wide(), s);
    s.a = x, s.a_row = inputs, s.a_step = t.rows * inputs;
    s.g = t.slot(first) + Cell::first_input * padded;
    add_outer(w_x(), inputs, wide(), s);
  }
};

template <class Cell>
void backward_block(const Shape &s, const Layer<Cell> &layer, const Order &order, int64_t model, int64_t block,
                    const Backward &f, const Tape<Cell> &tape, const Sums<Cell> &sums, Buffer &memory,
                    const Parallel &parallel) {
  const int64_t rows = tape.rows, size = tape.padded, H = s.hidden, I = s.inputs, offset = model * s.rows;
  const int64_t chunk = std::max<int64_t>(1, CHUNK / rows);
  float *at = memory.room(rows * size * 3 + chunk * rows * I + rows * whole(I) + 64);
  float *dy = at, *dx = at + 3 * rows * size, *x = dx + rows * whole(I);
  BackStep<Cell> step{layer.cell, tape, 0, f.dy ? dy : nullptr, size, {at + rows * size, at + 2 * rows * size}, nullptr, tape.wide,
                      layer.hidden_columns, Cell::gates * size, size};
  std::fill_n(at, 3 * rows * size, 0.0f);
  for (int part = 0; part < Cell::parts; part++)
    for (int64_t i = 0; f.dlast[part] && i < rows; i++)
      copy(f.dlast[part] + (offset + order.row(block, i)) * H, H, step.carry[part] + i * size);
  const float *from = f.x + (s.shared ? 0 : offset * s.steps * I);
  std::vector<int64_t> alive(tape.steps + 1, 0);
  for (int64_t t = 0, n = rows; t < tape.steps; t++) alive[t] = n = order.alive(block, t, n);
  int64_t end = tape.steps;
  for (int64_t t = tape.steps - 1; t >= -1; t--) {
    if (t % LOOK == LOOK - 1 && !parallel.go_on()) return;
    step.t = t;
    if (t >= 0 && f.dy) gather(dy, f.dy + offset * s.steps * H, H, s.steps, order, block, t, alive[t], size);
    step.gates = t + 1 < tape.steps ? tape.slot(t + 1) + Cell::first_hidden * size : nullptr;
    back_rows(step, 0, alive[t + 1]);
    if (t < 0) break;
    step.gates = nullptr;  // rows whose last step this is
    back_rows(step, alive[t + 1], alive[t]);
    if (f.dx) {
      back_rows(BackInput{tape.slot(t) + Cell::first_input * size, tape.wide, layer.input_columns, Cell::gates * size,
                          whole(I), dx}, 0, alive[t]);
      scatter(f.dx + offset * s.steps * I, dx, I, s.steps, order, block, t, alive[t], whole(I));
    }
    if (end - t == chunk || t == 0) {
      for (int64_t i = t; i < end; i++) gather(x + (i - t) * rows * I, from, I, s.steps, order, block, i, alive[i], I);
      sums.add(tape, t, end - t, alive.data() + t, x, f.db_h || f.db_x);
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
  const int64_t H = sums.hidden, rows = Cell::gates * H, size = sums.padded, wide = sums.wide();
  auto matrix = [&](float *to, const float *from, int64_t K, const int *slot, int first) {
    for (int64_t gate = 0; to && gate < Cell::gates; gate++)
      for (int64_t unit = 0; unit < H; unit++)
        for (int64_t k = 0; k < K; k++)
          to[(model * rows + gate * H + unit) * K + k] = from[k * wide + (slot[gate] - first) * size + unit];
  };
  matrix(f.dw_h, sums.w_h(), H, Cell::hidden_slot, Cell::first_hidden);
  matrix(f.dw_x, sums.w_x(), sums.inputs, Cell::input_slot, Cell::first_input);
  matrix(f.db_h, sums.bias(), 1, Cell::hidden_slot, 0);
  matrix(f.db_x, sums.bias(), 1, Cell::input_slot, 0);
}

template <class Cell>
void backward(const Cell &cell, const Shape &s, const Weights &w, const Backward &f, float *kept, const Parallel &parallel) {
  static thread_local Buffer packed_home, totals_home, work_home;
  Borrowed packed(packed_home), totals(totals_home);
  const Order order(s);
  const std::vector<int64_t> start = tapes<Cell>(s, order);
  const int64_t size = whole(s.hidden), each = lines(Layer<Cell>::floats(s.inputs, s.hidden, true));
  const int64_t lanes = std::min(LANES, order.blocks()), sum = lines(Sums<Cell>::floats(s.inputs, s.hidden));
  std::vector<Layer<Cell>> layers;
  float *at = packed.room(s.models * each), *total = totals.zeros(s.models * std::max<int64_t>(lanes, 1) * sum);
  for (int64_t m = 0; m < s.models; m++) layers.emplace_back(cell, s, w, m, true, at + m * each);
  auto sums = [&](int64_t m, int64_t lane) {
    return Sums<Cell>{s.inputs, s.hidden, size, total + (m * lanes + lane) * sum};
  };
  parallel.run(s.models * lanes, [&](int64_t item) {
    const FlushTiny flush;
    Borrowed work(work_home);
    const int64_t m = item / lanes, lane = item % lanes;
    for (int64_t b = lane; b < order.blocks(); b += lanes)
      backward_block(s, layers[m], order, m, b, f,
                     Tape<Cell>(kept + m * start.back() + start[b], order.count(b), order.steps(b), size),
                     sums(m, lane), work, parallel);
  });
  for (int64_t m = 0; m < s.models; m++) {
    for (int64_t lane = 1; lane < lanes; lane++)
      for (int64_t i = 0; i < sum; i++) sums(m, 0).at[i] += sums(m, lane).at[i];
    unpack(sums(m, 0), m, f);
  }
}

}  // namespace TIDEGATE_ISA
