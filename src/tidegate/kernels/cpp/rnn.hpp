// The plain recurrent cell (Elman 1990), with tanh or with max(0, .):
//
//   h' = f(W_x x + b_x + W_h h + b_h)
//
// Backward, with g = dL/dh':  da = g (1 - h'^2) for tanh, g where h' > 0 for relu; a is the sum before f.
// Nothing is kept from forward but the states; backward writes da into the one slot.
#pragma once

#include "gates.hpp"

namespace TIDEGATE_ISA {

struct Rnn {
  bool relu;  // or tanh

  static constexpr int gates = 1, parts = 1, kept = 1;
  static constexpr int apart = -1, apart_slot = 0;
  static constexpr int input_slot[1] = {0};
  static constexpr int hidden_slot[1] = {0};
  static constexpr int first_input = 0, first_hidden = 0;

  template <int N>
  INLINE void forward(const Group<N> (&gate)[gates], const Place<N> &at) const {
    at.set_state(0, relu ? at_least(gate[0], 0.0f) : tanh(gate[0]));
  }

  template <int N>
  INLINE Group<N> backward(Group<N> g, const Place<N> &at, Group<N> &) const {
    const Group<N> h = at.new_state(0);
    at.keep(0, relu ? where_positive(h, g) : g * fma(-h, h, 1.0f));
    return 0.0f;
  }
};

}  // namespace TIDEGATE_ISA
