// A recurrent cell that learns from one reading at a time, by truncated backpropagation through time with carried state
// (Williams & Peng 1990) or by exact real-time recurrent learning (Williams & Zipser 1989).
//
// Weights are (K, gates, units) with K = 1 + H + 1 + I: the hidden side's bias, a row a unit, the input side's bias, a
// row an input. The sums run as in forward.hpp, so a stream that does not learn has the bits of `Stepper`.
//
//   back through the ring:  dgates(t) from the cell, dh(t-1) = what it passes by + W_h' dgates(t), dW = sum in(t) dgates(t)
//   forward with it:        J(t) = D(t) J(t-1) + what this step adds, D = dstate(t) / dstate(t-1); dW = dL/dstate J
//
// A record of the ring holds a reading's state before and after it, what the cell keeps, and its input.
#pragma once

#include "online.hpp"
#include "tile.hpp"

namespace TIDEGATE_ISA {

template <class Cell>
class Recurrent {
 public:
  static constexpr int G = Cell::gates, P = Cell::parts, KEPT = Cell::kept;
  static constexpr int64_t BLOCK_LINES = 6;  // of the influence at once

  Recurrent(const Cell &cell, bool exact, const Learning &s)
      : cell_(cell), exact_(exact), H_(s.hidden), I_(s.inputs), size_(lines(s.hidden)), wide_(G * size_), back_(s.back) {}

  bool traced() const { return exact_; }
  bool recalls() const { return false; }  // whether a record alone tells the gradient
  int64_t weights() const { return (2 + H_ + I_) * wide_; }
  int64_t live() const { return (2 + H_ + I_) * G * H_; }  // weights that are no filling
  int64_t parts() const { return P; }
  int64_t record() const { return (2 * P + KEPT) * size_ + lines(I_); }
  // One row a state, one column a weight, filled up to whole blocks.
  int64_t influence() const { return exact_ ? rows() * columns() : 0; }

  // After the weights have changed.
  void prepare(const float *w) {
    if (!exact_) turn(w);
  }

  void step(const float *w, const float *x, float *state, float *record, float *influence, int64_t *counts) {
    float *before = record, *after = before + P * size_, *slots = after + P * size_, *in = slots + KEPT * size_;
    std::copy_n(state, P * size_, before);
    std::copy_n(x, I_, in);
    for (int64_t u = 0; u < size_; u += LINE) {
      Line gate[G];
      for (int g = 0; g < G; g++) gate[g] = line(w + g * size_ + u);
      const float *row = w + wide_ + u;
      for (int64_t k = 0; k < H_; k++, row += wide_)
        for (int g = 0; g < G; g++) gate[g] = fma(Line(before[k]), line(row + g * size_), gate[g]);
      for (int g = 0; g < G; g++) {
        const Line b = line(row + g * size_);
        if (g == Cell::apart) put(slots + Cell::apart_slot * size_ + u, gate[g]), gate[g] = b;
        else gate[g] = gate[g] + b;
      }
      row += wide_;
      for (int64_t i = 0; i < I_; i++, row += wide_)
        for (int g = 0; g < G; g++) gate[g] = fma(Line(in[i]), line(row + g * size_), gate[g]);
      cell_.forward(gate, place(before, after, slots, u));
    }
    std::copy_n(after, P * size_, state);
    if (exact_) carry(w, record, influence, counts);
  }

  void restart(float *state, float *record, float *influence) {
    std::fill_n(state, P * size_, 0.0f);
    std::fill_n(record + P * size_, P * size_, 0.0f);
    if (exact_) std::fill_n(influence, this->influence(), 0.0f);
  }

  void features(const float *, const float *record, float *u) const { std::copy_n(record + P * size_, H_, u); }

  // dW += dL/dh J
  void observe(const float *, const float *, const float *slope, const float *influence, float *gradient) const {
    for (int64_t c = 0; c < weights(); c += LINE) {
      Line sum = line(gradient + c);
      for (int64_t k = 0; k < H_; k++) sum = fma(Line(slope[k]), line(influence + k * columns() + c), sum);
      put(gradient + c, sum);
    }
  }

  // `at(i)`: the record of i readings before the last; `wrong(i, record)`: whether that reading has a slope of its own,
  // which is then in `slope`.
  template <class At, class Wrong>
  void go_back(const float *w, int64_t steps, float *gradient, const float *slope, const At &at, const Wrong &wrong) {
    if (exact_) turn(w);  // for a label that came late
    const int64_t a_row = P * size_ + lines(I_), g_row = KEPT * size_;
    float *dh = turned_ + wide_ * size_, *dm = dh + size_, *next = dm + size_, *ins = next + size_, *gates = ins + back_ * a_row;
    std::fill_n(dh, 2 * size_, 0.0f);
    for (int64_t i = 0; i < steps; i++) {
      const float *record = at(i), *after = record + P * size_, *slots = after + P * size_;
      float *d = gates + i * g_row, *in = ins + i * a_row;
      if (wrong(i, record))
        for (int64_t k = 0; k < H_; k++) dh[k] += slope[k];
      std::copy_n(record, P * size_, in);
      std::copy_n(slots + g_row, lines(I_), in + P * size_);
      std::copy_n(slots, g_row, d);
      for (int64_t u = 0; u < size_; u += LINE) {
        Line memory = line(dm + u);
        put(next + u, cell_.backward(line(dh + u), place(record, after, d, u), memory));
        if (P > 1) put(dm + u, memory);
      }
      through_hidden(d, next, dh);
    }
    outer_rows(gradient, nullptr, 0, 1, Cell::hidden_slot, gates, steps);
    outer_rows(gradient + wide_, ins, a_row, H_, Cell::hidden_slot, gates, steps);
    outer_rows(gradient + (1 + H_) * wide_, nullptr, 0, 1, Cell::input_slot, gates, steps);
    outer_rows(gradient + (2 + H_) * wide_, ins + P * size_, a_row, I_, Cell::input_slot, gates, steps);
  }

 private:
  int64_t rows() const { return P * size_; }
  int64_t columns() const { return (weights() + BLOCK_LINES * LINE - 1) / (BLOCK_LINES * LINE) * (BLOCK_LINES * LINE); }

  INLINE Place<PER> place(const float *before, float *after, float *slots, int64_t u) const {
    return {slots + u, size_, WIDTH, {before + u, before + (P - 1) * size_ + u}, {after + u, after + (P - 1) * size_ + u}, WIDTH, true};
  }
  INLINE Place<PER> place(const float *before, const float *after, float *slots, int64_t u) const {
    return place(before, const_cast<float *>(after), slots, u);  // the way back only reads states
  }

  // W_h as the way back reads it, and room for that way.
  void turn(const float *w) {
    const int64_t floats = wide_ * size_, steps = back_ * (lines(I_) + P * size_ + KEPT * size_);
    if (!turned_) turned_ = memory_.zeros(floats + steps + 3 * size_);
    for (int64_t k = 0; k < H_; k++)
      for (int g = 0; g < G; g++)
        for (int64_t u = 0; u < H_; u++) turned_[(g * size_ + u) * size_ + k] = w[(1 + k) * wide_ + g * size_ + u];
  }

  // dh = next + W_h' dgates
  void through_hidden(const float *d, const float *next, float *dh) const {
    for (int64_t k = 0; k < size_; k += LINE) {
      Line sum[4] = {line(next + k), 0.0f, 0.0f, 0.0f};
      for (int g = 0; g < G; g++) {
        const float *by = d + Cell::hidden_slot[g] * size_, *w = turned_ + g * size_ * size_ + k;
        for (int64_t u = 0; u < size_; u += 4)
          for (int j = 0; j < 4; j++) sum[j] = fma(Line(by[u + j]), line(w + (u + j) * size_), sum[j]);
      }
      put(dh + k, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
  }

  // gradient (count, gates, units) += sum over steps of a(step) dgates(step); without a: of dgates
  void outer_rows(float *gradient, const float *a, int64_t a_row, int64_t count, const int *slot, const float *gates,
                  int64_t steps) const {
    constexpr int R = ACCUMULATORS / (G * PER) >= 4 ? 4 : ACCUMULATORS / (G * PER) >= 2 ? 2 : 1;
    int64_t row = 0;
    for (; row + R <= count; row += R) outer_tile<R>(gradient + row * wide_, a ? a + row : nullptr, a_row, slot, gates, steps);
    for (; row < count; row++) outer_tile<1>(gradient + row * wide_, a ? a + row : nullptr, a_row, slot, gates, steps);
  }
  template <int R>
  void outer_tile(float *gradient, const float *a, int64_t a_row, const int *slot, const float *gates, int64_t steps) const {
    for (int64_t u = 0; u < size_; u += LINE) {
      Line sum[R][G];
      for (int r = 0; r < R; r++)
        for (int g = 0; g < G; g++) sum[r][g] = line(gradient + r * wide_ + g * size_ + u);
      for (int64_t i = 0; i < steps; i++) {
        Line d[G];
        for (int g = 0; g < G; g++) d[g] = line(gates + (i * KEPT + slot[g]) * size_ + u);
        for (int r = 0; r < R; r++) {
          const Line s = a ? a[i * a_row + r] : 1.0f;
          for (int g = 0; g < G; g++) sum[r][g] = fma(s, d[g], sum[r][g]);
        }
      }
      for (int r = 0; r < R; r++)
        for (int g = 0; g < G; g++) put(gradient + r * wide_ + g * size_ + u, sum[r][g]);
    }
  }

  // J = D J + what this step adds, in place, a block of columns after the other.
  void carry(const float *w, const float *record, float *J, int64_t *counts) {
    constexpr int64_t BLOCK = BLOCK_LINES * LINE;
    constexpr int C = BLOCK / WIDTH >= 6 ? 6 : 1, R = ACCUMULATORS / 6 / 2 * 2;
    const int64_t S = rows(), all = columns(), K = 2 + H_ + I_;
    if (!work_) work_ = work_memory_.zeros(S * S + P * KEPT * size_ + S * BLOCK + lines(K) + 2 * size_);
    float *D = work_, *by = D + S * S, *old = by + P * KEPT * size_, *in = old + S * BLOCK;
    slopes(w, record, D, by, in + lines(K));
    in[0] = in[1 + H_] = 1.0f;
    std::copy_n(record, H_, in + 1);
    std::copy_n(record + (2 * P + KEPT) * size_, I_, in + 2 + H_);
    Line sum = 0.0f;
    for (int64_t c = 0; c < all; c += BLOCK) {
      for (int64_t r = 0; r < S; r++) std::copy_n(J + r * all + c, BLOCK, old + r * BLOCK);
      for (int64_t part = 0; part < BLOCK; part += C * WIDTH)
        for (int64_t r = 0; r < S; r += R) {
          Vec acc[R][C];
          for (int i = 0; i < R; i++)
            for (int j = 0; j < C; j++) acc[i][j] = Vec{};
          product<R, C>(acc, D + r * S, S, old + part, BLOCK);
          for (int i = 0; i < R; i++)
            for (int j = 0; j < C; j++) store(J + (r + i) * all + c + part + j * WIDTH, acc[i][j]);
        }
      for (int64_t l = c; l < std::min(c + BLOCK, weights()); l += LINE) immediate(J, l, by, in, all);
      for (int64_t r = 0; r < S; r++)
        for (int64_t l = 0; l < BLOCK; l += LINE) {
          const Line v = line(J + r * all + c + l);
          sum = fma(v, v, sum);
        }
    }
    const float norm = std::sqrt(total(sum));
    if (norm <= 100.0f) return;
    counts[RESCALED]++;
    if (std::isfinite(norm)) scale(J, 100.0f / norm, S * all);
    else std::fill_n(J, S * all, 0.0f);
  }
  template <int R, int C>
  static INLINE void product(Vec (&acc)[R][C], const float *D, int64_t S, const float *old, int64_t wide) {
    for (int64_t k = 0; k < S; k++, D++, old += wide) {
      Vec b[C];
      for (int j = 0; j < C; j++) b[j] = load(old + j * WIDTH);
      for (int i = 0; i < R; i++) {
        const Vec s = all(D[i * S]);
        for (int j = 0; j < C; j++) acc[i][j] = fma(s, b[j], acc[i][j]);
      }
    }
  }
  // One line of columns: the weights from input `row` to gate g of 16 units, each of which moves its own unit only.
  void immediate(float *J, int64_t at, const float *by, const float *in, int64_t all) const {
    const int64_t row = at / wide_, g = at % wide_ / size_, u = at % size_;
    const int *slot = row <= H_ ? Cell::hidden_slot : Cell::input_slot;
    for (int p = 0; p < P; p++) {
      const float *d = by + (p * KEPT + slot[g]) * size_ + u;
      for (int64_t i = 0; i < std::min<int64_t>(LINE, H_ - u); i++) J[(p * size_ + u + i) * all + at + i] += in[row] * d[i];
    }
  }
  // D, and the slopes of every state by every gate of its unit.
  void slopes(const float *w, const float *record, float *D, float *by, float *pass) const {
    const int64_t S = rows();
    const float *after = record + P * size_, *slots = after + P * size_;
    std::fill_n(D, S * S, 0.0f);
    for (int p = 0; p < P; p++) {
      float *d = by + p * KEPT * size_;
      std::copy_n(slots, KEPT * size_, d);
      for (int64_t u = 0; u < size_; u += LINE) {
        Line memory = p ? 1.0f : 0.0f;
        put(pass + u, cell_.backward(Line(p ? 0.0f : 1.0f), place(record, after, d, u), memory));
        put(pass + size_ + u, memory);
      }
      for (int64_t k = 0; k < H_; k++)
        for (int64_t u = 0; u < size_; u += LINE) {
          Line sum = 0.0f;
          for (int g = 0; g < G; g++)
            sum = fma(line(d + Cell::hidden_slot[g] * size_ + u), line(w + (1 + k) * wide_ + g * size_ + u), sum);
          alignas(64) float each[LINE];
          put(each, sum);
          for (int64_t i = 0; i < LINE; i++) D[(p * size_ + u + i) * S + k] = each[i];
        }
      for (int64_t u = 0; u < H_; u++) {
        D[(p * size_ + u) * S + u] += pass[u];
        if (P > 1) D[(p * size_ + u) * S + size_ + u] += pass[size_ + u];
      }
    }
  }

  Cell cell_;
  bool exact_;
  int64_t H_, I_, size_, wide_, back_;
  Buffer memory_, work_memory_;
  float *turned_ = nullptr, *work_ = nullptr;
};

}  // namespace TIDEGATE_ISA
