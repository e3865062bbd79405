// The plain recurrent cell (Elman 1990), with tanh or with max(0, .):
//
//   h' = f(W_x x + b_x + W_h h + b_h)
//
// Backward, with g = dL/dh':  da = g (1 - h'^2) for tanh, g where h' > 0 for relu; a is the sum before f.
// Nothing is kept from forward but the states; backward writes da into the one slot.
#pragma once

#include "simd.hpp"

namespace TIDEGATE_ISA {

template <bool RELU>
struct Rnn {
  static constexpr int gates = 1, parts = 1, kept = 1;
  static constexpr int apart = -1, apart_slot = 0;
  static constexpr int input_slot[1] = {0};
  static constexpr int hidden_slot[1] = {0};
  static constexpr int first_input = 0, first_hidden = 0;

  template <bool KEEP>
  static INLINE void forward(const Vec *gate, float *, long, const float *const *, float *const *after) {
    store(after[0], RELU ? at_least(gate[0], 0.0f) : tanh(gate[0]));
  }

  static INLINE Vec backward(Vec g, float *slot, long, const float *const *, const float *const *after, float *) {
    const Vec h = load(after[0]);
    store(slot, RELU ? (h > 0.0f ? g : Vec{}) : g * fma(-h, h, all(1.0f)));
    return Vec{};
  }
};

}  // namespace TIDEGATE_ISA
