// The functions that gates are made of: sigmoid and tanh, from one exp.
//
//   exp(x) = 2^n 2^f     n = round(x log2 e)     2^f = 1 + f p(f) on |f| <= 1/2
//   sigmoid(x) = 1 / (1 + exp(-x))     tanh(x) = sign(x) (1 - e) / (1 + e), e = exp(-2|x|)
//
// p is the polynomial of degree 5 whose largest relative error is least, 1.1e-8 (found by weighted least squares,
// Lawson 1961): an eighth of a float's last digit. tanh takes e - 1 without losing small digits, so that it is exact to
// the last digits near 0 too. Largest errors, over all floats: tanh 1.5e-7, sigmoid 1.7e-7. NaN comes out as NaN;
// infinities saturate.
#pragma once

#include "simd.hpp"

namespace TIDEGATE_ISA {

// exp(times * x) = scale * (1 + rest), where the power of 2 is between -126 and 127.
template <int N>
struct Power {
  Group<N> scale, rest;
};

template <int N>
INLINE Power<N> power(Group<N> x, float times) {
  const float log2e = times * 1.44269504f, round = 12582912.0f + 127;  // adding 1.5 * 2^23 rounds to a whole number n ...
  const Group<N> shifted = fma(x, log2e, round), f = fma(x, log2e, round - shifted), f2 = f * f;
  // In pairs: half as long a chain as one coefficient after the other.
  const Group<N> low = fma(f, 0.240226498f, 0.693147188f), high = fma(f, 1.54035127e-4f, 1.33907355e-3f);
  const Group<N> p = fma(f2, fma(f2, high, fma(f, 9.61823749e-3f, 5.55035743e-2f)), low);
  return {as_exponent(shifted), f * p};  // ... and leaves n + 127 in the low bits, where a float has its exponent
}

// 1 + exp(-x), no further out than where the sigmoid is 0 or 1 for a float.
template <int N>
INLINE Group<N> one_and_exp(Group<N> x) {
  const Power<N> e = power(at_most(at_least(x, -28.0f), 28.0f), -1.0f);
  return 1.0f + fma(e.scale, e.rest, e.scale);
}

// The sigmoids of two or three at once: a division costs as much as five products.
template <int N>
INLINE void sigmoids(Group<N> &a, Group<N> &b) {
  const Group<N> p = one_and_exp(a), q = one_and_exp(b), both = 1.0f / (p * q);
  a = both * q;
  b = both * p;
}

template <int N>
INLINE void sigmoids(Group<N> &a, Group<N> &b, Group<N> &c) {
  const Group<N> p = one_and_exp(a), q = one_and_exp(b), r = one_and_exp(c), pq = p * q;
  const Group<N> all_three = 1.0f / (pq * r), two = all_three * r;
  a = two * q;
  b = two * p;
  c = all_three * pq;
}

template <int N>
INLINE Group<N> tanh(Group<N> x) {
  const Power<N> e = power(at_least(negative(x), -10.0f), 2.0f);
  const Group<N> less = fma(e.scale, e.rest, e.scale - 1.0f);  // exp(-2|x|) - 1
  return flip(less / (-2.0f - less), sign(x));
}

// Where N rows at one vector of units, or N vectors of units of one row, have what the cell keeps and its states.
template <int N>
struct Place {
  float *slots;         // of the first
  long size, slot_step;  // from one slot to the next, from one of the N to the next
  const float *before[2];
  float *after[2];
  long step;
  bool keeps;  // whether anybody will go back this way

  INLINE Group<N> slot(int i) const { return Group<N>(slots + i * size, slot_step); }
  INLINE void keep(int i, Group<N> x) const { x.store(slots + i * size, slot_step); }
  INLINE Group<N> old_state(int part) const { return Group<N>(before[part], step); }
  INLINE Group<N> new_state(int part) const { return Group<N>(after[part], step); }
  INLINE void set_state(int part, Group<N> x) const { x.store(after[part], step); }
};

}  // namespace TIDEGATE_ISA
