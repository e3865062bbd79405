// Products in registers: a few rows times a few vectors of columns, one multiplication and addition after the other.
//
//   multiply   acc[r][c] += sum over k of a[r][k] * w[k][c]       rows times weights
//   outer      acc[r][c] += sum over rows of a[row][r] * g[row][c]   gradients of weights
//
// The sum over k runs from 0 up, in every tile. Where there are few rows the tile takes more columns instead of
// splitting k: that keeps the units of the processor busy and leaves the bits of a row as they are in any batch.
#pragma once

#include <type_traits>

#include "simd.hpp"

namespace TIDEGATE_ISA {

// a: R rows, `stride` apart. w: C / G panels, `panel` apart, each (K, G * WIDTH).
template <int R, int C, int G>
INLINE void multiply(Vec (&acc)[R][C], const float *a, long stride, const float *w, long panel, long K) {
#pragma GCC unroll 1
  for (long k = 0; k < K; k++, a++, w += G * WIDTH) {
    if constexpr (R <= C && R > 1) {  // whichever is fewer, rows or columns, waits in registers
      Vec s[R];
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) s[r] = all(a[r * stride]);
#pragma GCC unroll 32
      for (int c = 0; c < C; c++) {
        const Vec b = load(w + (c / G) * panel + (c % G) * WIDTH);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) acc[r][c] = fma(s[r], b, acc[r][c]);
      }
    } else {
      Vec b[C];
#pragma GCC unroll 32
      for (int c = 0; c < C; c++) b[c] = load(w + (c / G) * panel + (c % G) * WIDTH);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        const Vec s = all(a[r * stride]);
#pragma GCC unroll 32
        for (int c = 0; c < C; c++) acc[r][c] = fma(s, b[c], acc[r][c]);
      }
    }
  }
}

// `rows` rows of a and g, `a_stride` and `g_stride` apart: R numbers of a row of a, C vectors of a row of g.
template <int R, int C>
INLINE void outer(Vec (&acc)[R][C], const float *a, long a_stride, const float *g, long g_stride, long rows) {
#pragma GCC unroll 1
  for (long row = 0; row < rows; row++, a += a_stride, g += g_stride) {
    Vec b[C];
#pragma GCC unroll 16
    for (int c = 0; c < C; c++) b[c] = load(g + c * WIDTH);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const Vec s = all(a[r]);
#pragma GCC unroll 16
      for (int c = 0; c < C; c++) acc[r][c] = fma(s, b[c], acc[r][c]);
    }
  }
}

// The vectors of a tile (R rows, C vectors) by groups of N: f(N, row, column). Groups are rows of one vector, or, where
// there is one row, vectors side by side.
template <int R, int C, class F>
INLINE void in_groups(const F &f) {
  constexpr int most = R > 1 ? R : C, N = most % 4 == 0 ? 4 : most % 3 == 0 ? 3 : most % 2 == 0 ? 2 : 1;
  constexpr std::integral_constant<int, N> n{};
#pragma GCC unroll 16
  for (int c = 0; c < C; c += R > 1 ? 1 : N)
#pragma GCC unroll 16
    for (int r = 0; r < R; r += R > 1 ? N : 1) f(n, r, c);
}

}  // namespace TIDEGATE_ISA
