// One step of AdamW for M models at once, each with a rate, a count of steps and a clipped gradient of its own.
//
//   n = |g| over all weights of a model;  g <- g min(1, clip / (n + 1e-6))                     (Pascanu et al. 2013)
//   m <- m + (1 - .9) (g - m);  v <- .999 v + (1 - .999) g^2                                      (Kingma & Ba 2015)
//   w <- (1 - rate decay) w - rate / (1 - .9^t) m / (sqrt(v / (1 - .999^t)) + 1e-8)        (Loshchilov & Hutter 2019)
//
// Plain loops, which the compiler may widen but not reorder or fuse: a model has the same bits whatever is beside it,
// on every instruction set. The norm is summed in double, weight after weight, in eight sums that are added in order.
// A gradient that is no number makes the norm and the weights none: nothing is hidden here.
#pragma once

#include <cmath>

#include "engine.hpp"
#include "simd.hpp"

namespace TIDEGATE_ISA {

using tidegate::Descent;
using tidegate::Parameter;

inline double norm(const Descent &d, int64_t model) {
  double sums[8] = {};
  for (int64_t p = 0; p < d.count; p++) {
    const int64_t size = d.parameters[p].size;
    const float *g = d.parameters[p].grad;
    if (!g) continue;
    g += model * size;
    int64_t i = 0;
    for (; i + 8 <= size; i += 8)
      for (int k = 0; k < 8; k++) sums[k] += double(g[i + k]) * double(g[i + k]);
    for (; i < size; i++) sums[i % 8] += double(g[i]) * double(g[i]);
  }
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

// `keep`: what clipping leaves of a gradient; `shrink`: what decay leaves of a weight; `pace` and `settled`: the rate and
// 1 / sqrt of the second moment's correction, each for as many steps as were taken.
inline void update(int64_t size, float *__restrict w, const float *__restrict g, float *__restrict m,
                   float *__restrict v, float keep, float shrink, float pace, float settled) {
  for (int64_t i = 0; i < size; i++) {
    const float slope = g[i] * keep;
    m[i] = m[i] + 0.1f * (slope - m[i]);
    v[i] = 0.999f * v[i] + 0.001f * (slope * slope);
    w[i] = shrink * w[i] - pace * (m[i] / (std::sqrt(v[i]) * settled + 1e-8f));
  }
}

inline void adam(const Descent &d) {
  const FlushTiny tiny;  // moments of a weight that gets no gradient any more sink through all small numbers
  for (int64_t model = 0; model < d.models; model++) {
    d.norms[model] = norm(d, model);
    double keep = d.clip / (d.norms[model] + 1e-6);
    if (keep > 1) keep = 1;  // and what is no number stays none
    const double t = double(++d.steps[model]), rate = d.rates[model];
    const float shrink = float(1 - rate * d.decay), pace = float(rate / (1 - std::pow(0.9, t)));
    const float settled = float(1 / std::sqrt(1 - std::pow(0.999, t)));
    for (int64_t p = 0; p < d.count; p++) {
      const Parameter &one = d.parameters[p];
      const int64_t at = model * one.size;
      if (one.grad)
        update(one.size, one.weight + at, one.grad + at, one.mean + at, one.square + at, float(keep), shrink, pace, settled);
    }
  }
}

}  // namespace TIDEGATE_ISA
