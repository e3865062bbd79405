// A recurrent layer forward: a tile of a few rows and a few vectors of units takes both products and the cell's
// functions in registers.
//
//   gate = b_h + W_h h + b_x + W_x x     for all gates of the tile's units; then the cell (gru.hpp, lstm.hpp, rnn.hpp)
//
// The sums run in that order in every tile, so a row's bits do not depend on the rows beside it. A gate whose two sides
// the cell wants apart (GRU's n) leaves its hidden side among what is kept.
#pragma once

#include "gates.hpp"
#include "scan.hpp"
#include "tile.hpp"

namespace TIDEGATE_ISA {

using tidegate::Forward;
using tidegate::Parallel;

template <class Cell>
struct Step {  // one step of the rows of a block
  const Layer<Cell> &layer;
  int64_t row, wide;  // from one row of states, of slots, to the next
  const float *x, *before[2];
  float *slots, *after[2];
  bool keeps;
};

template <class Cell, int R, int J>
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
  // Not over the units that fill up the last vector: where an input is infinite they are no numbers.
  multiply<R, C, G>(gate, s.before[0] + row * s.row, s.row, l.hidden_panels + unit * G * size, G * WIDTH * size, l.hidden);
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
  in_groups<R, J>([&](auto n, int r, int j) ALWAYS {
    constexpr int N = n;
    Group<N> mine[G];
    for (int g = 0; g < G; g++)
      mine[g] = Group<N>::of([&](int i) { return R > 1 ? gate[r + i][j * G + g] : gate[0][(j + i) * G + g]; });
    const int64_t at = (row + r) * s.row + unit + j * WIDTH;
    l.cell.forward(mine, Place<N>{slots + r * stride + j * WIDTH, size, R > 1 ? stride : WIDTH,
                                                {s.before[0] + at, s.before[1] + at}, {s.after[0] + at, s.after[1] + at},
                                                R > 1 ? s.row : WIDTH, s.keeps});
  });
}

// Rows `row` to `end` in tiles of R, as many vectors of units at once as fit, then fewer: the panels of a few units stay
// in the nearest memory while all rows pass by.
template <class Cell, int R, int J>
void forward_units(const Step<Cell> &s, int64_t row, int64_t end, int64_t unit) {
  for (; unit + J * WIDTH <= s.layer.padded; unit += J * WIDTH)
    for (int64_t r = row; r < end; r += R) forward_tile<Cell, R, J>(s, r, unit);
  if constexpr (J > 1) forward_units<Cell, R, J / 2>(s, row, end, unit);
}

template <class Cell, int R>
void forward_rows(const Step<Cell> &s, int64_t row, int64_t rows) {
  constexpr int J = std::min(8, std::max(1, ACCUMULATORS / (R * Cell::gates)));
  const int64_t end = row + (rows - row) / R * R;
  if (end > row) forward_units<Cell, R, J>(s, row, end, 0);
  if constexpr (R > 1) forward_rows<Cell, (R + 1) / 2>(s, end, rows);
}

// As many rows in a tile as leave room for all gates of one vector of units; of a cell with one gate, of two.
template <class Cell>
constexpr int ROWS = std::min(8, ACCUMULATORS / std::max(2, Cell::gates));

template <class Cell>
void forward_block(const Shape &s, const Layer<Cell> &layer, const Order &order, int64_t model, int64_t block,
                   const Forward &f, const Tape<Cell> &tape, float *x, bool keeps, const Parallel &parallel) {
  const int64_t rows = tape.rows, H = s.hidden, I = s.inputs;
  const float *from = f.x + (s.shared ? 0 : model * s.rows * s.steps * I);
  for (int part = 0; part < Cell::parts; part++) {
    std::fill_n(tape.state(part, 0), rows * tape.row, 0.0f);
    for (int64_t i = 0; f.state[part] && i < rows; i++)
      std::copy_n(f.state[part] + (model * s.rows + order.row(block, i)) * H, H, tape.state(part, 0) + i * tape.row);
  }
  // Without a tape two states and one row of slots are enough: they take turns.
  auto turn = [keeps](int64_t t) { return keeps ? t : t & 1; };
  int64_t alive = rows;
  for (int64_t t = 0;; t++) {
    if (t % LOOK == LOOK - 1 && !parallel.go_on()) return;
    const int64_t left = order.alive(block, t, alive);
    for (int part = 0; part < Cell::parts && f.last[part]; part++)
      for (int64_t i = left; i < alive; i++)
        std::copy_n(tape.state(part, turn(t)) + i * tape.row, H,
                    f.last[part] + (model * s.rows + order.row(block, i)) * H);
    alive = left;
    if (alive == 0) break;
    gather(x, from, I, s.steps, order, block, t, alive, I);
    const Step<Cell> step{layer, tape.row, tape.wide, x, {tape.state(0, turn(t)), tape.state(Cell::parts - 1, turn(t))},
                          tape.slot(keeps ? t : 0), {tape.state(0, turn(t + 1)), tape.state(Cell::parts - 1, turn(t + 1))},
                          keeps};
    forward_rows<Cell, ROWS<Cell>>(step, 0, alive);
    if (f.y)
      scatter(f.y + model * s.rows * s.steps * H, tape.state(0, turn(t + 1)), H, s.steps, order, block, t, alive,
              tape.row);
  }
  for (int64_t i = 0; f.y && i < rows; i++)
    blank(f.y + model * s.rows * s.steps * H, H, s.steps, order, order.row(block, i));
}

template <class Cell>
void forward(const Cell &cell, const Shape &s, const Weights &w, const Forward &f, float *keep, const Parallel &parallel) {
  static thread_local Buffer packed_home, work_home;
  Borrowed packed(packed_home);
  const Order order(s);
  const std::vector<int64_t> start = keep ? tapes<Cell>(s, order) : std::vector<int64_t>();
  const int64_t size = whole(s.hidden), each = lines(Layer<Cell>::floats(s.inputs, s.hidden, false));
  std::vector<Layer<Cell>> layers;
  float *at = packed.room(s.models * each);
  for (int64_t m = 0; m < s.models; m++) layers.emplace_back(cell, s, w, m, false, at + m * each);
  parallel.run(s.models * order.blocks(), [&](int64_t item) {
    const FlushTiny flush;
    Borrowed work(work_home);
    const int64_t m = item / order.blocks(), b = item % order.blocks(), rows = order.count(b);
    const int64_t steps = keep ? order.steps(b) : 1;
    float *x = work.room(rows * s.inputs + 16 + (keep ? 0 : Tape<Cell>::floats(rows, steps, size)));
    float *mine = keep ? keep + m * start.back() + start[b] : x + lines(rows * s.inputs);
    const Tape<Cell> t(mine, rows, steps, size);
    forward_block(s, layers[m], order, m, b, f, t, x, keep != nullptr, parallel);
  });
}

}  // namespace TIDEGATE_ISA
