// Long short-term memory (Hochreiter & Schmidhuber 1997, forget gate: Gers et al. 2000), gates in PyTorch's order:
//
//   i = sigmoid(..)   f = sigmoid(..)   g = tanh(..)   o = sigmoid(..)      each of W_x x + b_x + W_h h + b_h
//   c' = f c + i g      h' = o tanh(c')
//
// Backward, with a = dL/dh' and e = dL/dc' + a o (1 - tanh(c')^2):
//   di = e g i (1-i)   df = e c f (1-f)   dg = e i (1-g^2)   do = a tanh(c') o (1-o)   dc = e f
// of the gates before their functions. Kept from forward: i, f, g, o; backward writes their gradients over them.
#pragma once

#include "gates.hpp"

namespace TIDEGATE_ISA {

struct Lstm {
  static constexpr int gates = 4, parts = 2, kept = 4;
  static constexpr int apart = -1, apart_slot = 0;
  static constexpr int input_slot[4] = {0, 1, 2, 3};
  static constexpr int hidden_slot[4] = {0, 1, 2, 3};
  static constexpr int first_input = 0, first_hidden = 0;

  template <int N>
  static INLINE void forward(const Group<N> (&gate)[gates], const Place<N> &at) {
    Group<N> i = gate[0], f = gate[1], o = gate[3];
    sigmoids(i, f, o);
    const Group<N> g = tanh(gate[2]), c = fma(f, at.old_state(1), i * g);
    at.set_state(1, c);
    at.set_state(0, o * tanh(c));
    if (at.keeps) at.keep(0, i), at.keep(1, f), at.keep(2, g), at.keep(3, o);
  }

  // `memory` is dL/dc' and is left as dL/dc.
  template <int N>
  static INLINE Group<N> backward(Group<N> a, const Place<N> &at, Group<N> &memory) {
    const Group<N> i = at.slot(0), f = at.slot(1), g = at.slot(2), o = at.slot(3);
    const Group<N> t = tanh(at.new_state(1)), e = fma(a * o, fma(-t, t, 1.0f), memory);
    at.keep(0, e * g * (i * (1.0f - i)));
    at.keep(1, e * at.old_state(1) * (f * (1.0f - f)));
    at.keep(2, e * i * fma(-g, g, 1.0f));
    at.keep(3, a * t * (o * (1.0f - o)));
    memory = e * f;
    return 0.0f;
  }
};

}  // namespace TIDEGATE_ISA
