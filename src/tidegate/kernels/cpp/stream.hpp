// One reading after another, for many streams at once: scale, recurrent layers, head, without a copy that is not needed.
//
//   x = (reading - center) / spread     h = the layers' new states (forward.hpp)     y = W h + b
//
// The same tiles as in forward.hpp, so the same bits. Weights are laid out once, when a Stepper is made; the state lies in an
// array of the caller's, (layers, parts, models, streams, padded). All models share one scale.
#pragma once

#include <memory>

#include "forward.hpp"

namespace TIDEGATE_ISA {

// y (rows, count) = x (rows, K) times the rows of w (count, K), plus b: each row summed in one order, as everything here.
class Linear {
 public:
  Linear(const float *w, const float *b, int64_t count, int64_t K, Buffer &memory)
      : count_(count), K_(K), size_(whole(count)), w_(memory.zeros(size_ * (K + 1))), b_(w_ + size_ * K) {
    for (int64_t unit = 0; unit < count; unit++)
      for (int64_t k = 0; k < K; k++) w_[(unit / WIDTH * K + k) * WIDTH + unit % WIDTH] = w[unit * K + k];
    if (b) std::copy_n(b, count, b_);
  }
  void run(const float *x, int64_t stride, int64_t rows, float *y, int64_t y_stride) const {
    run<4>(x, stride, 0, rows, y, y_stride);
  }

 private:
  template <int R>
  void run(const float *x, int64_t stride, int64_t row, int64_t rows, float *y, int64_t y_stride) const {
    for (; row + R <= rows; row += R)
      for (int64_t unit = 0; unit < size_; unit += WIDTH) {
        Vec acc[R][1];
        for (int r = 0; r < R; r++) acc[r][0] = load(b_ + unit);
        multiply<R, 1, 1>(acc, x + row * stride, stride, w_ + unit * K_, 0, K_);
        for (int r = 0; r < R; r++) {
          alignas(64) float out[WIDTH];
          store(out, acc[r][0]);
          std::copy_n(out, std::min<int64_t>(WIDTH, count_ - unit), y + (row + r) * y_stride + unit);
        }
      }
    if constexpr (R > 1) run<R / 4>(x, stride, row, rows, y, y_stride);
  }

  int64_t count_, K_, size_;
  float *w_, *b_;
};

template <class Cell>
class Steps final : public tidegate::Stepper {
 public:
  Steps(const Cell &cell, const tidegate::Stepping &s) : s_(s), size_(whole(s.hidden)), center_(s.inputs), spread_(s.inputs, 1.0) {
    for (int64_t i = 0; s.center && i < s.inputs; i++) center_[i] = s.center[i], spread_[i] = s.spread[i];
    const int64_t count = s.layers * s.models;
    packed_ = std::vector<Buffer>(count + s.models);
    for (int64_t l = 0; l < s.layers; l++)
      for (int64_t m = 0; m < s.models; m++) {
        const Shape shape{s.models, 1, 1, l ? s.hidden : s.inputs, s.hidden, false, false, nullptr};
        float *at = packed_[l * s.models + m].room(Layer<Cell>::floats(shape.inputs, s.hidden, false));
        layers_.emplace_back(cell, shape, s.weights[l], m, false, at);
      }
    for (int64_t m = 0; s.head_w && m < s.models; m++)
      heads_.emplace_back(s.head_w + m * s.outputs * s.hidden, s.head_b ? s.head_b + m * s.outputs : nullptr, s.outputs,
                          s.hidden, packed_[count + m]);
    const int64_t widest = std::max(s.inputs, size_);
    s_.weights = nullptr, s_.center = s_.spread = nullptr, s_.head_b = nullptr;  // the caller's, and copied by now
    x_ = x_memory_.zeros(BLOCK * widest), slots_ = slots_memory_.zeros(BLOCK * Cell::kept * size_);
    after_ = after_memory_.zeros(2 * BLOCK * size_);
  }

  int64_t padded() const override { return size_; }

  void run(const double *x, int64_t streams, int64_t steps, float *state, float *y) override {
    const FlushTiny flush;
    for (int64_t m = 0; m < s_.models; m++)
      for (int64_t first = 0; first < streams; first += BLOCK)
        for (int64_t t = 0; t < steps; t++)
          step(x, streams, steps, state, y, m, first, std::min(BLOCK, streams - first), t);
  }

 private:
  void step(const double *x, int64_t streams, int64_t steps, float *state, float *y, int64_t m, int64_t first,
            int64_t rows, int64_t t) {
    const int64_t I = s_.inputs, O = s_.head_w ? s_.outputs : s_.hidden, part = s_.models * streams * size_;
    for (int64_t i = 0; i < rows; i++) {
      const double *from = x + ((m * streams + first + i) * steps + t) * I;
      for (int64_t c = 0; c < I; c++) x_[i * I + c] = float((from[c] - center_[c]) / spread_[c]);
    }
    const float *in = x_;
    float *h = nullptr;
    for (int64_t l = 0; l < s_.layers; l++) {
      const Layer<Cell> &layer = layers_[l * s_.models + m];
      h = state + l * Cell::parts * part + (m * streams + first) * size_;
      float *memory = h + (Cell::parts - 1) * part;
      if (l)  // the layer below is as wide as it has units, not whole vectors
        for (int64_t i = 0; i < rows; i++) std::copy_n(in + i * size_, s_.hidden, x_ + i * s_.hidden);
      float *next = after_ + (Cell::parts - 1) * BLOCK * size_;
      const Step<Cell> go{layer, size_, Cell::kept * size_, x_, {h, memory}, slots_, {after_, next}, false};
      forward_rows<Cell, ROWS<Cell>>(go, 0, rows);
      std::copy_n(after_, rows * size_, h);
      if (Cell::parts > 1) std::copy_n(next, rows * size_, memory);
      in = h;
    }
    float *out = y + ((m * streams + first) * steps + t) * O;
    if (s_.head_w) heads_[m].run(h, size_, rows, out, steps * O);
    else
      for (int64_t i = 0; i < rows; i++) std::copy_n(h + i * size_, O, out + i * steps * O);
  }

  tidegate::Stepping s_;
  int64_t size_;
  std::vector<double> center_, spread_;
  std::vector<Buffer> packed_;
  std::vector<Layer<Cell>> layers_;
  std::vector<Linear> heads_;
  Buffer x_memory_, slots_memory_, after_memory_;
  float *x_, *slots_, *after_;
};

template <class Cell>
std::unique_ptr<tidegate::Stepper> stepper(const Cell &cell, const tidegate::Stepping &s) {
  return std::make_unique<Steps<Cell>>(cell, s);
}

inline void linear(const float *x, const float *w, const float *b, int64_t rows, int64_t K, int64_t count, float *y) {
  static thread_local Buffer home;
  Borrowed memory(home);
  const FlushTiny flush;
  Linear(w, b, count, K, memory).run(x, K, rows, y, count);
}

}  // namespace TIDEGATE_ISA
