// Gated recurrent unit (Cho et al. 2014), the reset after the product, as in cuDNN and PyTorch:
//
//   r = sigmoid(W_xr x + b_xr + W_hr h + b_hr)      z = sigmoid(W_xz x + b_xz + W_hz h + b_hz)
//   q = W_hn h + b_hn      n = tanh(W_xn x + b_xn + r q)      h' = n + z (h - n)
//
// Backward, with g = dL/dh':  dn = g (1-z) (1-n^2)   dz = g (h-n) z (1-z)   dq = dn r   dr = dn q r (1-r)   dh = g z + ...
// where dn, dr, dz are of the gates before their functions. Kept from forward: n, r, z, q; backward writes dn, dr, dz, dq
// over them, so that what flows to x (dn, dr, dz) and what flows to h (dr, dz, dq) each lie side by side.
#pragma once

#include "simd.hpp"

namespace TIDEGATE_ISA {

struct Gru {
  static constexpr int gates = 3, parts = 1, kept = 4;
  static constexpr int apart = 2;  // the gate whose two sides are not simply added: q waits in its slot
  static constexpr int apart_slot = 3;
  static constexpr int input_slot[3] = {1, 2, 0};   // where PyTorch's r, z, n lie among what is kept ...
  static constexpr int hidden_slot[3] = {1, 2, 3};  // ... and their hidden sides
  static constexpr int first_input = 0, first_hidden = 1;

  template <bool KEEP>
  static INLINE void forward(const Vec *gate, float *slot, long size, const float *const *before, float *const *after) {
    const Vec h = load(before[0]), q = load(slot + 3 * size);
    Vec r = gate[0], z = gate[1];
    sigmoids(r, z);
    const Vec n = tanh(fma(r, q, gate[2]));
    store(after[0], fma(z, h - n, n));
    if constexpr (KEEP) {
      store(slot, n);
      store(slot + size, r);
      store(slot + 2 * size, z);
    }
  }

  // Takes dL/dh' and returns what flows to h past the gates.
  static INLINE Vec backward(Vec g, float *slot, long size, const float *const *before, const float *const *, float *) {
    const Vec n = load(slot), r = load(slot + size), z = load(slot + 2 * size), q = load(slot + 3 * size);
    const Vec rest = 1.0f - z, dn = g * rest * fma(-n, n, all(1.0f)), dq = dn * r;
    store(slot, dn);
    store(slot + size, dq * q * (1.0f - r));
    store(slot + 2 * size, g * (load(before[0]) - n) * (z * rest));
    store(slot + 3 * size, dq);
    return g * z;
  }
};

}  // namespace TIDEGATE_ISA
