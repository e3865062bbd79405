// The linear recurrent unit (Orvieto et al. 2023), which learns by exact traces as cheap as its forward pass, because its
// recurrence is diagonal (Zucchet et al. 2023):
//
//   lambda = exp(-e^nu + i theta)     gamma = sqrt(1 - |lambda|^2)
//   h' = lambda h + gamma B x         u = tanh(b + V_re Re h' + V_im Im h' + D x)
//   E_lambda' = lambda E_lambda + h     E_gamma' = lambda E_gamma + B x     E_B' = lambda E_B + gamma x
//
// and with s = dL/dRe h', t = dL/dIm h', a real weight whose trace is e has the slope s Re e + t Im e; of nu it is
// -e^nu lambda E_lambda + e^nu |lambda|^2 / gamma E_gamma, of theta i lambda E_lambda, of Re B E_B, of Im B i E_B.
//
// Weights are rows of units: nu, theta, Re B and Im B (a row an input), b, V_re and V_im (a row a unit of h), D (a row an input).
#pragma once

#include "online.hpp"

namespace TIDEGATE_ISA {

struct Complex {
  Line re, im;
  friend INLINE Complex operator*(Complex a, Complex b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }
  friend INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
};

class Lru {
 public:
  explicit Lru(const Learning &s) : H_(s.hidden), I_(s.inputs), size_(lines(s.hidden)) {
    lambda_ = memory_.zeros((8 + 2 * size_) * size_);
    gamma_ = lambda_ + 2 * size_, by_nu_ = gamma_ + size_, slope_ = by_nu_ + 2 * size_, u_ = slope_ + 2 * size_;
    turned_ = u_ + size_;
  }

  bool traced() const { return true; }
  bool recalls() const { return true; }
  int64_t weights() const { return (3 + 2 * H_ + 3 * I_) * size_; }
  int64_t live() const { return (3 + 2 * H_ + 3 * I_) * H_; }
  int64_t parts() const { return 2; }
  int64_t influence() const { return (4 + 2 * I_) * size_; }
  int64_t record() const { return 2 * size_ + influence() + lines(I_); }

  void prepare(const float *w) {
    for (int64_t u = 0; u < H_; u++) {
      const float rate = std::exp(w[u]), size = std::exp(-rate), lost = -std::expm1(-2 * rate);
      lambda_[u] = size * std::cos(w[size_ + u]), lambda_[size_ + u] = size * std::sin(w[size_ + u]);
      gamma_[u] = std::max(std::sqrt(lost), 1e-6f);
      by_nu_[u] = -rate, by_nu_[size_ + u] = rate * (1 - lost) / gamma_[u];
    }
    const float *v = w + (3 + 2 * I_) * size_;
    for (int64_t k = 0; k < H_; k++)
      for (int64_t u = 0; u < H_; u++) {
        turned_[u * size_ + k] = v[k * size_ + u];
        turned_[(size_ + u) * size_ + k] = v[(H_ + k) * size_ + u];
      }
  }

  void step(const float *w, const float *x, float *state, float *record, float *traces, int64_t *) {
    for (int64_t u = 0; u < size_; u += LINE) {
      const Complex lambda = pair(lambda_ + u), h = pair(state + u);
      const Line gamma = line(gamma_ + u);
      Complex drive{0.0f, 0.0f};
      for (int64_t i = 0; i < I_; i++) {
        drive.re = fma(Line(x[i]), line(w + (2 + i) * size_ + u), drive.re);
        drive.im = fma(Line(x[i]), line(w + (2 + I_ + i) * size_ + u), drive.im);
        float *e = traces + (4 + 2 * i) * size_ + u;
        Complex next = lambda * pair(e);
        next.re = fma(gamma, Line(x[i]), next.re);
        set(e, next);
      }
      set(traces + u, lambda * pair(traces + u) + h);
      set(traces + 2 * size_ + u, lambda * pair(traces + 2 * size_ + u) + drive);
      const Complex along = lambda * h;
      set(state + u, {fma(gamma, drive.re, along.re), fma(gamma, drive.im, along.im)});
    }
    std::copy_n(state, 2 * size_, record);
    std::copy_n(traces, influence(), record + 2 * size_);
    std::copy_n(x, I_, record + 2 * size_ + influence());
  }

  void restart(float *state, float *record, float *traces) {
    std::fill_n(state, 2 * size_, 0.0f);
    std::fill_n(traces, influence(), 0.0f);
    std::fill_n(record, 2 * size_ + influence(), 0.0f);
  }

  void features(const float *w, const float *record, float *u) {
    const float *b = w + (2 + 2 * I_) * size_, *x = record + 2 * size_ + influence();
    for (int64_t at = 0; at < size_; at += LINE) {
      Line sum[2] = {line(b + at), 0.0f};
      const float *v = b + size_ + at;
      for (int part = 0; part < 2; part++)
        for (int64_t k = 0; k < H_; k++, v += size_) sum[part] = fma(Line(record[part * size_ + k]), line(v), sum[part]);
      for (int64_t i = 0; i < I_; i++, v += size_) sum[0] = fma(Line(x[i]), line(v), sum[0]);
      put(u_ + at, tanh(sum[0] + sum[1]));
    }
    std::copy_n(u_, H_, u);
  }

  // Of the record whose features were asked for last.
  void observe(const float *, const float *record, const float *slope, const float *, float *gradient) {
    alignas(64) float given[LINE] = {};
    const float *x = record + 2 * size_ + influence(), *traces = record + 2 * size_;
    float *g = gradient + (2 + 2 * I_) * size_;
    for (int64_t at = 0; at < size_; at += LINE) {
      std::copy_n(slope + at, std::min<int64_t>(LINE, H_ - at), given);
      std::fill(given + std::min<int64_t>(LINE, H_ - at), given + LINE, 0.0f);
      const Line u = line(u_ + at), d = line(given) * fma(-u, u, Line(1.0f));
      put(u_ + at, d);
      float *to = g + at;
      put(to, line(to) + d);
      to += size_;
      for (int part = 0; part < 2; part++)
        for (int64_t k = 0; k < H_; k++, to += size_) put(to, fma(Line(record[part * size_ + k]), d, line(to)));
      for (int64_t i = 0; i < I_; i++, to += size_) put(to, fma(Line(x[i]), d, line(to)));
    }
    for (int64_t k = 0; k < 2 * size_; k += LINE) {  // back to the real, then the imaginary parts
      Line sum[2] = {0.0f, 0.0f};
      const float *v = turned_ + k / size_ * size_ * size_ + k % size_;
      for (int64_t u = 0; u < size_; u += 2)
        for (int j = 0; j < 2; j++) sum[j] = fma(Line(u_[u + j]), line(v + (u + j) * size_), sum[j]);
      put(slope_ + k, sum[0] + sum[1]);
    }
    for (int64_t u = 0; u < size_; u += LINE) {
      const Complex turn = pair(lambda_ + u) * pair(traces + u), by_gamma = pair(traces + 2 * size_ + u);
      const Line s = line(slope_ + u), t = line(slope_ + size_ + u);
      const Line rate = line(by_nu_ + u), lift = line(by_nu_ + size_ + u);
      more(gradient + u, fma(s, turn.re, t * turn.im) * rate + fma(s, by_gamma.re, t * by_gamma.im) * lift);
      more(gradient + size_ + u, fma(t, turn.re, -(s * turn.im)));
      for (int64_t i = 0; i < I_; i++) {
        const Complex e = pair(traces + (4 + 2 * i) * size_ + u);
        more(gradient + (2 + i) * size_ + u, fma(s, e.re, t * e.im));
        more(gradient + (2 + I_ + i) * size_ + u, fma(t, e.re, -(s * e.im)));
      }
    }
  }

  template <class At, class Wrong>
  void go_back(const float *, int64_t, float *, const float *, const At &, const Wrong &) {}

 private:
  INLINE Complex pair(const float *at) const { return {line(at), line(at + size_)}; }
  INLINE void set(float *at, Complex x) const { put(at, x.re), put(at + size_, x.im); }
  static INLINE void more(float *to, Line x) { put(to, line(to) + x); }

  int64_t H_, I_, size_;
  Buffer memory_;
  float *lambda_, *gamma_, *by_nu_, *slope_, *u_, *turned_;
};

}  // namespace TIDEGATE_ISA
