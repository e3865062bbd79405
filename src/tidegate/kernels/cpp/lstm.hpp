// Long short-term memory (Hochreiter & Schmidhuber 1997, forget gate: Gers et al. 2000), gates in PyTorch's order:
//
//   i = sigmoid(..)   f = sigmoid(..)   g = tanh(..)   o = sigmoid(..)      each of W_x x + b_x + W_h h + b_h
//   c' = f c + i g      h' = o tanh(c')
//
// Backward, with a = dL/dh' and e = dL/dc' + a o (1 - tanh(c')^2):
//   di = e g i (1-i)   df = e c f (1-f)   dg = e i (1-g^2)   do = a tanh(c') o (1-o)   dc = e f
// of the gates before their functions. Kept from forward: i, f, g, o; backward writes their gradients over them.
#pragma once

#include "simd.hpp"

namespace TIDEGATE_ISA {

struct Lstm {
  static constexpr int gates = 4, parts = 2, kept = 4;
  static constexpr int apart = -1, apart_slot = 0;
  static constexpr int input_slot[4] = {0, 1, 2, 3};
  static constexpr int hidden_slot[4] = {0, 1, 2, 3};
  static constexpr int first_input = 0, first_hidden = 0;

  template <bool KEEP>
  static INLINE void forward(const Vec *gate, float *slot, long size, const float *const *before, float *const *after) {
    Vec i = gate[0], f = gate[1], o = gate[3];
    sigmoids(i, f, o);
    const Vec g = tanh(gate[2]), c = fma(f, load(before[1]), i * g);
    store(after[1], c);
    store(after[0], o * tanh(c));
    if constexpr (KEEP) {
      store(slot, i);
      store(slot + size, f);
      store(slot + 2 * size, g);
      store(slot + 3 * size, o);
    }
  }

  // `memory` holds dL/dc' and is left with dL/dc.
  static INLINE Vec backward(Vec a, float *slot, long size, const float *const *before, const float *const *after,
                             float *memory) {
    const Vec i = load(slot), f = load(slot + size), g = load(slot + 2 * size), o = load(slot + 3 * size);
    const Vec t = tanh(load(after[1])), e = fma(a * o, fma(-t, t, all(1.0f)), load(memory));
    store(slot, e * g * (i * (1.0f - i)));
    store(slot + size, e * load(before[1]) * (f * (1.0f - f)));
    store(slot + 2 * size, e * i * fma(-g, g, all(1.0f)));
    store(slot + 3 * size, a * t * (o * (1.0f - o)));
    store(memory, e * f);
    return Vec{};
  }
};

}  // namespace TIDEGATE_ISA
