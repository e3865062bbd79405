// Gated recurrent unit (Cho et al. 2014), the reset after the product, as in cuDNN and PyTorch:
//
//   r = sigmoid(W_xr x + b_xr + W_hr h + b_hr)      z = sigmoid(W_xz x + b_xz + W_hz h + b_hz)
//   q = W_hn h + b_hn      n = tanh(W_xn x + b_xn + r q)      h' = n + z (h - n)
//
// Backward, with g = dL/dh':  dn = g (1-z) (1-n^2)   dz = g (h-n) z (1-z)   dq = dn r   dr = dn q r (1-r)   dh = g z + ...
// where dn, dr, dz are of the gates before their functions. Kept from forward: n, r, z, q; backward writes dn, dr, dz, dq
// over them, so that what flows to x (dn, dr, dz) and what flows to h (dr, dz, dq) each lie side by side.
#pragma once

#include "gates.hpp"

namespace TIDEGATE_ISA {

struct Gru {
  static constexpr int gates = 3, parts = 1, kept = 4;
  static constexpr int apart = 2;  // the gate whose two sides are not simply added: q waits in its slot
  static constexpr int apart_slot = 3;
  static constexpr int input_slot[3] = {1, 2, 0};   // where PyTorch's r, z, n lie among what is kept ...
  static constexpr int hidden_slot[3] = {1, 2, 3};  // ... and their hidden sides
  static constexpr int first_input = 0, first_hidden = 1;

  template <int N>
  static INLINE void forward(const Group<N> (&gate)[gates], const Place<N> &at) {
    const Group<N> h = at.old_state(0), q = at.slot(3);
    Group<N> r = gate[0], z = gate[1];
    sigmoids(r, z);
    const Group<N> n = tanh(fma(r, q, gate[2]));
    at.set_state(0, fma(z, h - n, n));
    if (at.keeps) at.keep(0, n), at.keep(1, r), at.keep(2, z);
  }

  // Takes dL/dh' and returns what flows to h past the gates.
  template <int N>
  static INLINE Group<N> backward(Group<N> g, const Place<N> &at, Group<N> &) {
    const Group<N> n = at.slot(0), r = at.slot(1), z = at.slot(2), q = at.slot(3);
    const Group<N> rest = 1.0f - z, dn = g * rest * fma(-n, n, 1.0f), dq = dn * r;
    at.keep(0, dn);
    at.keep(1, dq * q * (1.0f - r));
    at.keep(2, g * (at.old_state(0) - n) * (z * rest));
    at.keep(3, dq);
    return g * z;
  }
};

}  // namespace TIDEGATE_ISA
