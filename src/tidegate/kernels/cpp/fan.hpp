// One step of a cell from one state with many inputs: what a forecaster's segments of the future are.
//
//   y[n, a] = drop(cell(each[a] + own[n], h[n]))     gate inputs in place of W_x x + b_x
//
// All answers of a row share W_h h + b_h, which is taken once; what grows with the number of answers is element-wise and
// goes through one row's memory. Nothing is kept on the way: backward takes the gates again, which costs less than to
// write and read them. What is dropped is given as random bytes, so that no mask of floats goes through memory.
#pragma once

#include "backward.hpp"
#include "forward.hpp"

namespace TIDEGATE_ISA {

using tidegate::Fan;
using tidegate::FanBack;

// PyTorch's gates of `rows` rows, each filled up to whole vectors.
template <class Cell>
void pad(float *to, const float *from, int64_t rows, int64_t hidden, int64_t size) {
  for (int64_t i = 0; i < rows * Cell::gates; i++, from += hidden) {
    std::copy_n(from, hidden, to + i * size);
    std::fill(to + i * size + hidden, to + (i + 1) * size, 0.0f);
  }
}

// to (rows, gates * padded) = W_h h + b_h, summed as `forward_tile` does.
template <class Cell, int R = ROWS<Cell>>
void hidden_side(const Layer<Cell> &l, const float *h, int64_t row, int64_t rows, float *to) {
  constexpr int G = Cell::gates;
  const int64_t size = l.padded;
  for (; row + R <= rows; row += R)
    for (int64_t unit = 0; unit < size; unit += WIDTH) {
      Vec acc[R][G];
      for (int g = 0; g < G; g++)
        for (int r = 0; r < R; r++) acc[r][g] = load(l.hidden_bias + g * size + unit);
      multiply<R, G, G>(acc, h + row * size, size, l.hidden_panels + unit * G * size, 0, l.hidden);
      for (int g = 0; g < G; g++)
        for (int r = 0; r < R; r++) store(to + ((row + r) * G + g) * size + unit, acc[r][g]);
    }
  if constexpr (R > 1) hidden_side<Cell, (R + 1) / 2>(l, h, row, rows, to);
}

// The rows of a block: their states and both sides of their gates, one after the other in memory.
template <class Cell>
struct Rows {
  static constexpr int G = Cell::gates;
  int64_t size, first, count;
  float *state[2], *hidden, *own, *slots, *after[2];

  static int64_t floats(int64_t size) { return BLOCK * size * (Cell::parts + 2 * G) + (Cell::kept + Cell::parts) * size; }

  Rows(const Fan &f, const Layer<Cell> &l, int64_t model, int64_t block, float *at) : size(l.padded) {
    auto part = [&at](int64_t floats) { return std::exchange(at, at + floats); };
    first = model * f.rows + block * BLOCK, count = std::min(BLOCK, f.rows - block * BLOCK);
    for (int p = 0; p < Cell::parts; p++) {
      state[p] = part(BLOCK * size), after[p] = part(size);
      std::fill_n(state[p], count * size, 0.0f);
      for (int64_t i = 0; i < count; i++) std::copy_n(f.state[p] + (first + i) * f.hidden, f.hidden, state[p] + i * size);
    }
    after[1] = after[Cell::parts - 1], state[1] = state[Cell::parts - 1];
    hidden = part(BLOCK * G * size), own = part(BLOCK * G * size), slots = part(Cell::kept * size);
    hidden_side(l, state[0], 0, count, hidden);
    pad<Cell>(own, f.own + first * G * f.hidden, count, f.hidden, size);
  }

  template <int N>
  INLINE Place<N> place(int64_t i, int64_t unit) const {
    return {slots + unit, size, WIDTH, {state[0] + i * size + unit, state[1] + i * size + unit},
            {after[0] + unit, after[1] + unit}, WIDTH, true};
  }

  // The cell at one answer's gate inputs: its slots and its states after.
  template <int N = 4>
  INLINE void forward(const Cell &cell, const float *each, int64_t i, int64_t unit = 0) const {
    for (; unit + N * WIDTH <= size; unit += N * WIDTH) {
      Group<N> gate[G];
      const Place<N> at = place<N>(i, unit);
      for (int g = 0; g < G; g++) {
        const int64_t row = (i * G + g) * size + unit;
        const Group<N> h(hidden + row, WIDTH);
        gate[g] = Group<N>(own + row, WIDTH) + Group<N>(each + g * size + unit, WIDTH);
        if (g == Cell::apart) at.keep(Cell::apart_slot, h);
        else gate[g] = h + gate[g];
      }
      cell.forward(gate, at);
    }
    if constexpr (N > 1) forward<N / 2>(cell, each, i, unit);
  }

  // Takes dL/dy and adds what flows past the gates to `carry`; the slots hold the gates' gradients then.
  template <int N = 4>
  INLINE void backward(const Cell &cell, const float *dy, float *carry[2], int64_t i, int64_t unit = 0) const {
    for (; unit + N * WIDTH <= size; unit += N * WIDTH) {
      Group<N> memory(0.0f);
      const int64_t row = i * size + unit;
      const Group<N> past = cell.backward(Group<N>(dy + unit, WIDTH), place<N>(i, unit), memory);
      (Group<N>(carry[0] + row, WIDTH) + past).store(carry[0] + row, WIDTH);
      if constexpr (Cell::parts > 1) (Group<N>(carry[1] + row, WIDTH) + memory).store(carry[1] + row, WIDTH);
    }
    if constexpr (N > 1) backward<N / 2>(cell, dy, carry, i, unit);
  }
};

typedef uint8_t Bytes __attribute__((vector_size(WIDTH)));

// to = from where nothing is dropped; else what is left of it, larger. `from` and `to` hold whole vectors, bytes do not.
INLINE void thin(float *to, const float *from, const uint8_t *bytes, const Fan &f) {
  if (!bytes) return copy(from, f.hidden, to);
  const Ints least = (int32_t)f.dropped - Ints{};
  const Vec larger = all(f.larger);
  int64_t u = 0;
  for (; u + WIDTH <= f.hidden; u += WIDTH) {
    Bytes b;
    std::memcpy(&b, bytes + u, WIDTH);
    store(to + u, (Vec)((Ints)(load(from + u) * larger) & (__builtin_convertvector(b, Ints) >= least)));
  }
  for (; u < f.hidden; u++) to[u] = bytes[u] >= f.dropped ? from[u] * f.larger : 0.0f;
}

inline Shape layer_of(const Fan &f) { return {f.models, f.rows, 1, 0, f.hidden, false, false, nullptr}; }

template <class Cell>
void fan(const Cell &cell, const Fan &f, const Weights &w, float *y, const Parallel &parallel) {
  static thread_local Buffer packed_home, work_home;
  Borrowed packed(packed_home);
  constexpr int G = Cell::gates;
  const Shape s = layer_of(f);
  const int64_t size = whole(f.hidden), A = f.answers, H = f.hidden, blocks = (f.rows + BLOCK - 1) / BLOCK;
  const int64_t heavy = lines(Layer<Cell>::floats(0, H, false)), each = A * G * size;
  float *at = packed.room(f.models * (heavy + each));
  std::vector<Layer<Cell>> layers;
  for (int64_t m = 0; m < f.models; m++) {
    layers.emplace_back(cell, s, w, m, false, at + m * (heavy + each));
    pad<Cell>(at + m * (heavy + each) + heavy, f.each + m * A * G * H, A, H, size);
  }
  parallel.run(f.models * blocks, [&](int64_t item) {
    const FlushTiny flush;
    Borrowed work(work_home);
    const int64_t m = item / blocks;
    const Rows<Cell> rows(f, layers[m], m, item % blocks, work.room(Rows<Cell>::floats(size)));
    const float *inputs = at + m * (heavy + each) + heavy;
    for (int64_t i = 0; i < rows.count; i++)
      for (int64_t a = 0; a < A; a++) {
        const int64_t to = ((rows.first + i) * A + a) * H;
        rows.forward(cell, inputs + a * G * size, i);
        thin(y + to, rows.after[0], f.bytes ? f.bytes + to : nullptr, f);
      }
  });
}

template <class Cell>
void fan_block(const Cell &cell, const Fan &f, const FanBack &b, const Layer<Cell> &layer, int64_t model, int64_t block,
               const float *inputs, const Sums<Cell> &sums, float *deach, float *at) {
  constexpr int G = Cell::gates, K = Cell::kept;
  const int64_t size = layer.padded, H = f.hidden, A = f.answers, wide = K * size;
  auto part = [&at](int64_t floats) { return std::exchange(at, at + floats); };
  const Rows<Cell> rows(f, layer, model, block, part(Rows<Cell>::floats(size)));
  float *total = part(BLOCK * wide), *dy = part(size), *carry[2] = {part(BLOCK * size), part(BLOCK * size)};
  std::fill_n(total, (BLOCK * (K + 2) + 1) * size, 0.0f);
  for (int64_t i = 0; i < rows.count; i++)
    for (int64_t a = 0; a < A; a++) {
      const int64_t from = ((rows.first + i) * A + a) * H;
      rows.forward(cell, inputs + a * G * size, i);
      thin(dy, b.dy + from, f.bytes ? f.bytes + from : nullptr, f);
      rows.backward(cell, dy, carry, i);
      for (int64_t u = 0; u < wide; u += WIDTH) store(total + i * wide + u, load(total + i * wide + u) + load(rows.slots + u));
      float *sum = deach + a * G * size;
      const float *gates = rows.slots + Cell::first_input * size;
      for (int64_t u = 0; u < G * size; u += WIDTH) store(sum + u, load(sum + u) + load(gates + u));
    }
  for (int64_t i = 0; i < rows.count; i++)
    for (int g = 0; g < G; g++)
      std::copy_n(total + i * wide + Cell::input_slot[g] * size, H, b.down + ((rows.first + i) * G + g) * H);
  const Stretch s{rows.state[0], total, size, 0, wide, 0, 1, &rows.count};
  add_rows(sums.bias(), wide, s);
  Stretch hidden = s;
  hidden.g = total + Cell::first_hidden * size;
  add_outer(sums.w_h(), H, sums.wide(), hidden);
  BackInput input{total + Cell::first_hidden * size, wide, layer.hidden_columns, G * size, size, part(BLOCK * size)};
  back_rows(input, 0, rows.count);
  for (int64_t i = 0; i < rows.count; i++)
    for (int p = 0; p < Cell::parts; p++)
      for (int64_t u = 0; u < H; u++)
        b.dstate[p][(rows.first + i) * H + u] = carry[p][i * size + u] + (p ? 0.0f : input.to[i * size + u]);
}

template <class Cell>
void fan_back(const Cell &cell, const Fan &f, const Weights &w, const FanBack &b, const Parallel &parallel) {
  static thread_local Buffer packed_home, totals_home, work_home;
  Borrowed packed(packed_home), totals(totals_home);
  constexpr int G = Cell::gates;
  const Shape s = layer_of(f);
  const int64_t size = whole(f.hidden), A = f.answers, H = f.hidden, blocks = (f.rows + BLOCK - 1) / BLOCK;
  const int64_t heavy = lines(Layer<Cell>::floats(0, H, true)), each = A * G * size, lanes = std::min(LANES, blocks);
  const int64_t sum = lines(Sums<Cell>::floats(0, H)) + each;
  float *at = packed.room(f.models * (heavy + each)), *total = totals.zeros(f.models * std::max<int64_t>(lanes, 1) * sum);
  std::vector<Layer<Cell>> layers;
  for (int64_t m = 0; m < f.models; m++) {
    layers.emplace_back(cell, s, w, m, true, at + m * (heavy + each));
    pad<Cell>(at + m * (heavy + each) + heavy, f.each + m * A * G * H, A, H, size);
  }
  auto sums = [&](int64_t m, int64_t lane) { return Sums<Cell>{0, H, size, total + (m * lanes + lane) * sum}; };
  parallel.run(f.models * lanes, [&](int64_t item) {
    const FlushTiny flush;
    Borrowed work(work_home);
    const int64_t m = item / lanes, lane = item % lanes;
    float *room = work.room(Rows<Cell>::floats(size) + (BLOCK * (Cell::kept + 3) + 1) * size);
    for (int64_t block = lane; block < blocks; block += lanes)
      fan_block(cell, f, b, layers[m], m, block, at + m * (heavy + each) + heavy, sums(m, lane),
                sums(m, lane).at + sum - each, room);
  });
  for (int64_t m = 0; m < f.models; m++) {
    for (int64_t lane = 1; lane < lanes; lane++)
      for (int64_t i = 0; i < sum; i++) sums(m, 0).at[i] += sums(m, lane).at[i];
    unpack(sums(m, 0), m, {nullptr, nullptr, {}, nullptr, {}, nullptr, b.dw_h, nullptr, b.db_h});
    const float *found = sums(m, 0).at + sum - each;
    for (int64_t a = 0; a < A; a++)
      for (int g = 0; g < G; g++)
        std::copy_n(found + a * G * size + (Cell::input_slot[g] - Cell::first_input) * size, H,
                    b.deach + ((m * A + a) * G + g) * H);
  }
}

}  // namespace TIDEGATE_ISA
