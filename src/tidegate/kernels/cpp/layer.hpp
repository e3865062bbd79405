// One model's weights in the order in which the loops read them; hidden units are filled up with zeros to whole vectors.
//
//   panels    (unit vectors, K, gates, WIDTH): for one vector of units, all its gates, one input after the other
//   columns   (tiles of up to TILE vectors of columns, K = gates * padded, columns): the same weights, transposed, for
//             the way back; gates in the order in which the cell keeps their gradients
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "engine.hpp"
#include "simd.hpp"

namespace TIDEGATE_ISA {

using tidegate::Shape;
using tidegate::Weights;

constexpr int TILE = 2;  // vectors of columns in a panel on the way back: 4 * H rows of it must fit the nearest memory

// Up to whole lines of a cache, and to whole vectors.
inline int64_t lines(int64_t floats) { return (floats + 15) / 16 * 16; }
inline int64_t whole(int64_t floats) { return (floats + WIDTH - 1) / WIDTH * WIDTH; }

// Memory that is kept from call to call: fresh pages cost more than the arithmetic that fills them.
class Buffer {
 public:
  float *zeros(int64_t floats) {
    float *start = room(floats);
    std::fill(start, start + floats, 0.0f);
    return start;
  }
  float *room(int64_t floats) {
    if (int64_t(held_.size()) < floats + 16) held_.resize(floats + 16);
    const auto address = reinterpret_cast<uintptr_t>(held_.data());
    return reinterpret_cast<float *>((address + 63) / 64 * 64);
  }
  // One large call should not cost memory for ever.
  void bound() {
    if (held_.capacity() > (16 << 20)) std::vector<float>().swap(held_);
  }

 private:
  std::vector<float> held_;
};

// A buffer while it is in use. A signal's handler may run the core in the middle of a call of the same thread: it finds
// `home` empty and takes memory of its own.
class Borrowed : public Buffer {
 public:
  explicit Borrowed(Buffer &home) : Buffer(std::exchange(home, Buffer())), home_(home) {}
  Borrowed(const Borrowed &) = delete;
  ~Borrowed() {
    bound();
    home_ = std::move(static_cast<Buffer &>(*this));
  }

 private:
  Buffer &home_;
};

template <class Cell>
struct Layer {
  Cell cell;
  int64_t inputs, hidden, padded;
  const float *hidden_panels, *input_panels, *hidden_bias, *input_bias;
  const float *hidden_columns = nullptr, *input_columns = nullptr;

  static int64_t floats(int64_t inputs, int64_t hidden, bool back) {
    const int64_t size = whole(hidden), each = Cell::gates * size;
    return each * (size + inputs + 2) + (back ? each * (size + whole(inputs)) : 0);
  }

  Layer(const Cell &cell, const Shape &s, const Weights &w, int64_t model, bool back, float *at)
      : cell(cell), inputs(s.inputs), hidden(s.hidden), padded(whole(s.hidden)) {
    const int64_t each = Cell::gates * padded, rows = Cell::gates * hidden;
    auto part = [&at](int64_t floats) { return std::exchange(at, at + floats); };
    const float *w_h = w.w_h + model * rows * hidden, *w_x = w.w_x + model * rows * inputs;
    hidden_panels = panels(part(each * padded), w_h, hidden, padded);
    input_panels = panels(part(each * inputs), w_x, inputs, inputs);
    hidden_bias = bias(part(each), w.b_h ? w.b_h + model * rows : nullptr);
    input_bias = bias(part(each), w.b_x ? w.b_x + model * rows : nullptr);
    if (!back) return;
    hidden_columns = columns(part(each * padded), w_h, hidden, Cell::hidden_slot, Cell::first_hidden);
    input_columns = columns(part(each * whole(inputs)), w_x, inputs, Cell::input_slot, Cell::first_input);
  }

 private:
  const float *panels(float *to, const float *w, int64_t K, int64_t room) const {
    std::fill(to, to + Cell::gates * padded * room, 0.0f);
    for (int64_t gate = 0; gate < Cell::gates; gate++)
      for (int64_t unit = 0; unit < hidden; unit++) {
        float *lane = to + (unit / WIDTH * room * Cell::gates + gate) * WIDTH + unit % WIDTH;
        for (int64_t k = 0; k < K; k++) lane[k * Cell::gates * WIDTH] = *w++;
      }
    return to;
  }

  const float *bias(float *to, const float *b) const {
    std::fill(to, to + Cell::gates * padded, 0.0f);
    for (int64_t gate = 0; b && gate < Cell::gates; gate++)
      std::copy_n(b + gate * hidden, hidden, to + gate * padded);
    return to;
  }

  const float *columns(float *to, const float *w, int64_t count, const int *slot, int first) const {
    const int64_t K = Cell::gates * padded, size = whole(count);
    std::fill(to, to + K * size, 0.0f);
    for (int64_t start = 0; start < size; start += TILE * WIDTH) {
      const int64_t wide = std::min<int64_t>(TILE * WIDTH, size - start), used = std::min(wide, count - start);
      for (int64_t gate = 0; gate < Cell::gates; gate++)
        for (int64_t unit = 0; unit < hidden; unit++)
          std::copy_n(w + (gate * hidden + unit) * count + start, used,
                      to + start * K + ((slot[gate] - first) * padded + unit) * wide);
    }
    return to;
  }
};

}  // namespace TIDEGATE_ISA
