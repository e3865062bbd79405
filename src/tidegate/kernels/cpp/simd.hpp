// Vectors of floats, and groups of them.
//
// Each file that includes this is compiled once per instruction set, in a namespace of its own (TIDEGATE_ISA).
// Every operation is spelled out and the compiler may not fuse any (-ffp-contract=off): a row then has the same bits
// in every tile that it can fall into. A Group is the same vector of several rows: a chain of operations, each waiting
// for the last, leaves most of the processor idle; a few chains side by side do not.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define ALWAYS __attribute__((always_inline))  // a tile must stay in registers through every function it passes
#define INLINE inline ALWAYS

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

// The larger, the smaller of x and a number; a NaN stays one.
INLINE Vec at_least(Vec x, float low) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_max_ps(0xffff, (__m512)all(low), (__m512)x);
#elif defined(__AVX2__)
  return (Vec)_mm256_max_ps((__m256)all(low), (__m256)x);
#else
  return x < all(low) ? all(low) : x;
#endif
}

INLINE Vec at_most(Vec x, float high) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_min_ps(0xffff, (__m512)all(high), (__m512)x);
#elif defined(__AVX2__)
  return (Vec)_mm256_min_ps((__m256)all(high), (__m256)x);
#else
  return x > all(high) ? all(high) : x;
#endif
}

// N vectors that take every operation side by side.
template <int N>
struct Group {
  Vec v[N];

  Group() = default;
  INLINE Group(float x) { each([&](int i) { v[i] = all(x); }); }
  INLINE Group(const float *from, long step) { each([&](int i) { v[i] = load(from + i * step); }); }
  INLINE void store(float *to, long step) const {
    each([&](int i) { TIDEGATE_ISA::store(to + i * step, v[i]); });
  }
  template <class F>
  static INLINE void each(const F &f) {
#pragma GCC unroll 16
    for (int i = 0; i < N; i++) f(i);
  }
  template <class F>
  static INLINE Group of(const F &f) {
    Group out;
    each([&](int i) { out.v[i] = f(i); });
    return out;
  }
  friend INLINE Group operator-(Group a) { return of([&](int i) { return -a.v[i]; }); }
  friend INLINE Group operator+(Group a, Group b) { return of([&](int i) { return a.v[i] + b.v[i]; }); }
  friend INLINE Group operator-(Group a, Group b) { return of([&](int i) { return a.v[i] - b.v[i]; }); }
  friend INLINE Group operator*(Group a, Group b) { return of([&](int i) { return a.v[i] * b.v[i]; }); }
  friend INLINE Group operator/(Group a, Group b) { return of([&](int i) { return a.v[i] / b.v[i]; }); }
  friend INLINE Group fma(Group a, Group b, Group c) {
    return of([&](int i) { return TIDEGATE_ISA::fma(a.v[i], b.v[i], c.v[i]); });
  }
  friend INLINE Group at_least(Group x, float low) {
    return of([&](int i) { return TIDEGATE_ISA::at_least(x.v[i], low); });
  }
  friend INLINE Group at_most(Group x, float high) {
    return of([&](int i) { return TIDEGATE_ISA::at_most(x.v[i], high); });
  }
  friend INLINE Group where_positive(Group x, Group y) {  // y there, 0 elsewhere
    return of([&](int i) { return x.v[i] > 0.0f ? y.v[i] : Vec{}; });
  }
  // The bits of a float: its sign, itself with the sign set, one's sign put on another.
  friend INLINE Group sign(Group x) { return of([&](int i) { return (Vec)((Ints)x.v[i] & INT32_MIN); }); }
  friend INLINE Group negative(Group x) { return of([&](int i) { return (Vec)((Ints)x.v[i] | INT32_MIN); }); }
  friend INLINE Group flip(Group x, Group sign) {
    return of([&](int i) { return (Vec)((Ints)x.v[i] ^ (Ints)sign.v[i]); });
  }
  friend INLINE Group as_exponent(Group x) { return of([&](int i) { return (Vec)((Ints)x.v[i] << 23); }); }
};

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
