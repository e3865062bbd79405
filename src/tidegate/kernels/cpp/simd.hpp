// Vectors of floats and the functions that gates are made of: exp, sigmoid, tanh.
//
// Each file that includes this is compiled once per instruction set, in a namespace of its own (TIDEGATE_ISA).
// Every operation is spelled out and the compiler may not fuse any (-ffp-contract=off): a row then has the same bits
// in every tile that it can fall into. Polynomials are the Taylor series of exp around 0 on |r| <= ln(2)/2, whose
// remainder r^8/8! is below a twelfth of a float's last digit; ln 2 is taken in two parts (Cody & Waite 1980).
// tanh goes through exp(-2|x|) - 1 without losing small digits, so that it is exact to the last digits near 0 too.
// NaN comes out as NaN; infinities saturate.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace TIDEGATE_ISA {

#if defined(__AVX512F__)
constexpr int WIDTH = 16, ACCUMULATORS = 24;  // floats in a vector; vectors that a tile may keep in registers
#elif defined(__AVX2__)
constexpr int WIDTH = 8, ACCUMULATORS = 12;
#elif defined(__aarch64__)
constexpr int WIDTH = 4, ACCUMULATORS = 24;
#else
constexpr int WIDTH = 4, ACCUMULATORS = 12;
#endif

typedef float Vec __attribute__((vector_size(WIDTH * 4)));
typedef int32_t Ints __attribute__((vector_size(WIDTH * 4)));
typedef float Anywhere __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));

INLINE Vec load(const float *from) { return *reinterpret_cast<const Anywhere *>(from); }
INLINE void store(float *to, Vec v) { *reinterpret_cast<Anywhere *>(to) = v; }
INLINE Vec all(float x) { return x - Vec{}; }

// a * b + c, rounded once where the machine can
INLINE Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

INLINE Vec at_least(Vec x, float low) { return x < all(low) ? all(low) : x; }  // a NaN stays one
INLINE Vec at_most(Vec x, float high) { return x > all(high) ? all(high) : x; }

// exp(x) = scale * (1 + rest), for -87 <= x <= 88
struct Power {
  Vec scale, rest;
};

INLINE Power power(Vec x) {
  const Vec shifted = fma(x, all(1.44269504f), all(12582912.0f));  // adding 1.5 * 2^23 rounds to a whole number ...
  const Vec n = shifted - all(12582912.0f);
  const Vec r = fma(n, all(-1.42860677e-6f), fma(n, all(-0.693145752f), x));
  Vec p = fma(r, all(1.0f / 5040), all(1.0f / 720));
  p = fma(r, p, all(1.0f / 120));
  p = fma(r, p, all(1.0f / 24));
  p = fma(r, p, all(1.0f / 6));
  p = fma(r, p, all(0.5f));
  return {(Vec)(((Ints)shifted << 23) + 0x3f800000), fma(r * r, p, r)};  // ... whose low bits are the exponent
}

// 1 + exp(-x), no further out than where the sigmoid is 0 or 1 for a float.
INLINE Vec one_and_exp(Vec x) {
  const Power e = power(at_most(at_least(-x, -28.0f), 28.0f));
  return 1.0f + fma(e.scale, e.rest, e.scale);
}

// The sigmoid 1 / (1 + exp(-x)) of two or three at once: a division costs as much as five products.
INLINE void sigmoids(Vec &a, Vec &b) {
  const Vec p = one_and_exp(a), q = one_and_exp(b), both = 1.0f / (p * q);
  a = both * q;
  b = both * p;
}

INLINE void sigmoids(Vec &a, Vec &b, Vec &c) {
  const Vec p = one_and_exp(a), q = one_and_exp(b), r = one_and_exp(c), pq = p * q;
  const Vec all_three = 1.0f / (pq * r), two = all_three * r;
  a = two * q;
  b = two * p;
  c = all_three * pq;
}

INLINE Vec tanh(Vec x) {
  const Ints sign = (Ints)x & INT32_MIN;
  const Power e = power(at_least(-2.0f * (Vec)((Ints)x ^ sign), -20.0f));
  const Vec less = fma(e.scale, e.rest, e.scale - 1.0f);  // exp(-2|x|) - 1
  return (Vec)((Ints)(less / (-2.0f - less)) ^ sign);
}

// Numbers too small for full precision are slow by a factor of four, and mean nothing here: taken as 0 while this lives.
class FlushTiny {
 public:
#if defined(__x86_64__)
  FlushTiny() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushTiny() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  FlushTiny() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(before_ | (1ull << 24)));
  }
  ~FlushTiny() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_;
#endif
};

}  // namespace TIDEGATE_ISA
