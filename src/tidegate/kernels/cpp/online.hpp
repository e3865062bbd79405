// Learning from one reading at a time: scale, network, head, loss, gradient and optimiser of one stream.
//
//   z = (reading - center) / spread, missing 0     u = what the network makes of z and its state     y = W u + b
//
// A net (online_cells.hpp, online_lru.hpp) says how its state and its gradient come about; all the rest is here. Nothing
// is remembered in these objects but what can be made again from the caller's arrays, which are changed in place. Units
// are filled up to whole lines of 16 floats on every instruction set: a memory that one machine saved fits another.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>

#include "adam.hpp"
#include "gates.hpp"
#include "layer.hpp"

namespace TIDEGATE_ISA {

using tidegate::Learning;
using tidegate::Memory;
using tidegate::Sizes;

constexpr int LINE = 16, PER = LINE / WIDTH;  // floats in a line, vectors in it
using Line = Group<PER>;

INLINE Line line(const float *from) { return Line(from, WIDTH); }
INLINE void put(float *to, Line x) { x.store(to, WIDTH); }
INLINE float total(Line x) {
  alignas(64) float each[LINE];
  put(each, x);
  for (int half = LINE / 2; half; half /= 2)
    for (int i = 0; i < half; i++) each[i] += each[i + half];
  return each[0];
}
inline float squares(const float *x, int64_t size) {
  Line sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int64_t i = 0; i < size; i += LINE) {
    const Line v = line(x + i);
    sum[i / LINE % 4] = fma(v, v, sum[i / LINE % 4]);
  }
  return total((sum[0] + sum[1]) + (sum[2] + sum[3]));
}
inline void add(float *to, float times, const float *x, int64_t size) {
  for (int64_t i = 0; i < size; i += LINE) put(to + i, fma(Line(times), line(x + i), line(to + i)));
}
inline void scale(float *x, float times, int64_t size) {
  for (int64_t i = 0; i < size; i += LINE) put(x + i, line(x + i) * Line(times));
}

// What the counts of a memory count.
// BEGAN: the reading with which memory last began; LATE: labels that came late; SINCE: readings at the last update's turn.
enum Count { READINGS, LEARNED, UPDATES, PENDING, REFUSED, RESCALED, RESETS, DRIFTS, DRIFTED, BEGAN, LATE, SINCE };

// Center and spread of one channel, from all readings or from about the last `horizon`; a count below 0 stands for "fixed".
struct Ruler {
  double *center, *spread, *count;
  double limit;

  void learn(double x, double horizon) const {
    if (*count < 0 || !(std::abs(x) < 1e150)) return;
    const double share = 1 / std::min(++*count, horizon);
    double apart = x - *center;
    if (*count > 20 && *spread > 0) apart = std::max(-limit * *spread, std::min(limit * *spread, apart));
    *center += share * apart;
    *spread = std::sqrt((1 - share) * (*spread * *spread + share * (apart * apart)));
  }
  double apply(double x) const {
    if (*count >= 0 && (!(*spread > 1e-14 * std::abs(*center)) || !(*spread > 1e-150))) return 0;
    return std::max(-limit, std::min(limit, (x - *center) / *spread));
  }
};

template <class Net>
class Pupil final : public tidegate::Online {
 public:
  Pupil(Net net, const Learning &s)
      : s_(s), net_(std::move(net)), body_(net.weights()), outputs_(lines(s.outputs)), record_(net.record() + outputs_),
        size_(body_ + (s.hidden + 1) * outputs_) {
    float *at = room_.zeros(lines(s.inputs) * 2 + lines(s.hidden) * 2 + outputs_);
    x_ = at, u_ = x_ + lines(s.inputs) * 2, slope_ = u_ + lines(s.hidden), raw_ = slope_ + lines(s.hidden);
  }

  Sizes sizes() const override { return {size_, body_, record_, net_.parts(), lines(s_.hidden), net_.influence()}; }
  void bind(const Memory &m) override {
    m_ = m;
    net_.prepare(m.weights);
  }

  void run(const double *x, const double *target, int64_t steps, double *out, int64_t id, bool learn) override {
    const FlushTiny tiny;
    for (int64_t t = 0; t < steps; t++)
      reading(x + t * s_.channels, target ? target + t * wanted() : nullptr, out + t * s_.outputs, id < 0 ? id : id + t,
              learn);
  }

  // Learns from the reading that was `ago` readings before the newest.
  void late(const double *target, int64_t ago) override {
    const FlushTiny tiny;
    m_.counts[LATE]++;
    float *record = at(m_.counts[READINGS] - 1 - ago), *wrong = record + net_.record();
    net_.features(m_.weights, record, u_);
    head();
    if (!loss(target, wrong)) return;
    learned(m_.counts[READINGS] - 1 - ago);
    // A label of its own: what is still pending from others waits, and is not mixed in.
    std::vector<float> waiting;
    const int64_t pending = std::exchange(m_.counts[PENDING], 0);
    if (net_.traced() && pending) waiting.assign(m_.gradient, m_.gradient + size_);
    std::fill_n(m_.gradient, size_, 0.0f);
    observe(record, wrong, ago);
    descend(1);
    std::fill_n(wrong, outputs_, 0.0f);
    if (!waiting.empty()) std::copy(waiting.begin(), waiting.end(), m_.gradient);
    m_.counts[PENDING] = pending;
  }

 private:
  int64_t wanted() const { return s_.labels ? 1 : s_.outputs; }
  int64_t place(int64_t reading) const { return int64_t(uint64_t(reading) % uint64_t(s_.keep)); }  // in the ring, whatever comes
  float *at(int64_t reading) { return m_.ring + place(reading) * record_; }
  Ruler ruler(int64_t i) const {
    const int64_t all = s_.channels + (s_.labels ? 0 : s_.outputs);
    return {m_.scale + i, m_.scale + all + i, m_.scale + 2 * all + i, s_.limit};
  }

  void reading(const double *x, const double *target, double *out, int64_t id, bool learn) {
    for (int64_t i = 0; i < s_.channels; i++) {
      const Ruler r = ruler(i);
      const bool seen = !std::isnan(x[i]);
      if (seen) r.learn(x[i], s_.horizon);
      x_[i] = seen ? float(r.apply(x[i])) : 0.0f;
      if (s_.masked) x_[s_.channels + i] = seen;
    }
    const int64_t now = m_.counts[READINGS]++;
    m_.ids[place(now)] = id < 0 ? now : id;
    float *record = at(now), *wrong = record + net_.record();
    net_.step(m_.weights, x_, m_.state, record, m_.influence, m_.counts);
    const bool broken = !finite();
    if (broken) net_.restart(m_.state, record, m_.influence), m_.counts[BEGAN] = now + 1, m_.counts[RESETS]++;
    net_.features(m_.weights, record, u_);
    head();
    tell(out);
    std::fill_n(wrong, outputs_, 0.0f);
    m_.loss[LAST] = NAN;
    if (target && !broken && loss(target, wrong)) {
      learned(now);
      if (net_.traced()) {
        if (!m_.counts[PENDING]) std::fill_n(m_.gradient, size_, 0.0f);
        observe(record, wrong, 0);
      }
      m_.counts[PENDING]++;
    }
    turn(now, learn);
  }

  // An id is turned round, below -1, once its reading was learned from: it is no more to be had, and still taken.
  void learned(int64_t reading) { m_.ids[place(reading)] = -2 - m_.ids[place(reading)]; }

  // Updates, where it is time to; what is due at a reading that is not to be learned from waits for the next that is.
  void turn(int64_t now, bool learn) {
    int64_t count = m_.counts[PENDING], &since = m_.counts[SINCE];
    if ((now + 1) / s_.every == since / s_.every || (count && !learn)) return;
    const int64_t window = now + 1 - std::exchange(since, now + 1);
    if (!count) return;
    if (!net_.traced()) {
      std::fill_n(m_.gradient, size_, 0.0f);
      count = back(now, window);
    }
    descend(count);
  }

  bool finite() const {
    Line sum = 0.0f;
    for (int64_t i = 0; i < net_.parts() * lines(s_.hidden); i += LINE) sum = sum + (line(m_.state + i) - line(m_.state + i));
    return total(sum) == 0;
  }

  void head() {
    const float *w = m_.weights + body_;
    for (int64_t o = 0; o < outputs_; o += LINE) {
      Line sum = line(w + o);
      for (int64_t k = 0; k < s_.hidden; k++) sum = fma(Line(u_[k]), line(w + (k + 1) * outputs_ + o), sum);
      put(raw_ + o, sum);
    }
  }

  // The answer in the units of the targets, or the probabilities of the classes.
  void tell(double *out) {
    if (s_.labels) return softmax(out);
    for (int64_t o = 0; o < s_.outputs; o++) {
      const Ruler r = ruler(s_.channels + o);
      out[o] = *r.center + (*r.spread > 0 ? *r.spread : 1.0) * double(raw_[o]);
    }
  }
  void softmax(double *out) const {
    double most = raw_[0], sum = 0;
    for (int64_t o = 1; o < s_.outputs; o++) most = std::max(most, double(raw_[o]));
    for (int64_t o = 0; o < s_.outputs; o++) sum += out[o] = std::exp(double(raw_[o]) - most);
    for (int64_t o = 0; o < s_.outputs; o++) out[o] /= sum;
  }

  // The slope of the loss by what the head says; false where there is nothing to learn from.
  bool loss(const double *target, float *wrong) {
    double sum = 0;
    bool any = false;
    if (s_.labels) {
      if (!(target[0] >= 0 && target[0] < double(s_.outputs))) return false;
      chances_.resize(s_.outputs);
      softmax(chances_.data());
      const int64_t own = int64_t(target[0]);
      for (int64_t o = 0; o < s_.outputs; o++) wrong[o] = float(chances_[o] - (o == own));
      sum = -std::log(std::max(chances_[own], 1e-12));
      any = true;
    } else {
      for (int64_t o = 0; o < s_.outputs; o++) {
        wrong[o] = 0;
        if (std::isnan(target[o])) continue;
        const Ruler r = ruler(s_.channels + o);
        r.learn(target[o], s_.horizon);
        wrong[o] = raw_[o] - float(r.apply(target[o]));
        sum += 0.5 * double(wrong[o]) * double(wrong[o]);
        any = true;
      }
    }
    if (any) watch(sum);
    return any;
  }

  // The mean of the losses at two speeds (an EWMA chart: Roberts 1959): where the fast one leaves the slow one by more
  // than `drift` of its standard deviations, something has changed; the slow one then begins anew. What is less than SMALL
  // (a seventh of a spread, a hundredth of a probability) is no change to speak of, however still errors were before.
  static constexpr double SMALL = 0.1;
  enum Watch { LAST, SLOW, SPREAD, FAST, SEEN, POWER };
  void watch(double loss) {
    double *w = m_.loss;
    w[LAST] = loss;
    const double x = std::min(std::sqrt(loss), 1e6), slow = 1 / std::min(w[SEEN] + 1, 500.0);
    const double fast = std::max(slow, 1.0 / 32), apart = x - w[SLOW];
    if (!std::isfinite(x)) return;
    w[FAST] += fast * (x - w[FAST]);
    const double bar = std::max(SMALL, s_.drift * std::sqrt(w[SPREAD] * fast / (2 - fast)));
    if (++w[SEEN] > 200 && s_.drift > 0 && w[FAST] - w[SLOW] > bar) {
      m_.counts[DRIFTS]++, m_.counts[DRIFTED] = m_.counts[READINGS];
      w[SLOW] = w[FAST], w[SEEN] = 32;
      return;
    }
    w[SLOW] += slow * apart;
    w[SPREAD] = (1 - slow) * (w[SPREAD] + slow * apart * apart);
  }

  // The gradient of one reading's loss, through traces or back through the ring.
  void observe(const float *record, const float *wrong, int64_t ago) {
    if (!net_.traced() || (ago && !net_.recalls())) return void(back(m_.counts[READINGS] - 1 - ago, 1));
    into_head(wrong);
    net_.observe(m_.weights, record, slope_, m_.influence, m_.gradient);
  }

  // Adds to the head's gradient, from u; the slope by u goes to `slope_`.
  void into_head(const float *wrong) {
    const float *w = m_.weights + body_;
    float *g = m_.gradient + body_;
    for (int64_t o = 0; o < outputs_; o += LINE) put(g + o, line(g + o) + line(wrong + o));
    for (int64_t k = 0; k < s_.hidden; k++) {
      float sum = 0;
      for (int64_t o = 0; o < s_.outputs; o++) sum += w[(k + 1) * outputs_ + o] * wrong[o];
      slope_[k] = sum;
      add(g + (k + 1) * outputs_, u_[k], wrong, outputs_);
    }
  }

  // Truncated backpropagation: from reading `last`, with what the newest `window` readings got wrong.
  // How many readings that were: of those that are pending, the ones that lie before memory began cannot be learned.
  int64_t back(int64_t last, int64_t window) {
    int64_t told = 0;
    const int64_t oldest = std::max({m_.counts[BEGAN], last + 1 - s_.back, m_.counts[READINGS] - s_.keep});
    net_.go_back(m_.weights, last - oldest + 1, m_.gradient, slope_, [&](int64_t i) { return at(last - i); },
                 [&](int64_t i, const float *record) {
                   if (i >= window) return false;
                   net_.features(m_.weights, record, u_);
                   const float *wrong = record + net_.record();
                   told += std::any_of(wrong, wrong + outputs_, [](float x) { return x != 0; });
                   into_head(wrong);
                   return true;
                 });
    return oldest > last + 1 - window ? told : m_.counts[PENDING];
  }

  // One step downhill, on the mean gradient of `count` readings. What is no number is not learned.
  void descend(int64_t count) {
    int64_t *n = m_.counts;
    n[PENDING] = 0;
    if (!count) return;
    if (count > 1) scale(m_.gradient, 1.0f / float(count), size_);
    const float norm = std::sqrt(squares(m_.gradient, size_));
    if (!std::isfinite(norm)) {
      n[REFUSED] += count;
      return;
    }
    n[LEARNED] += count;
    const double t = double(++n[UPDATES]);
    const float keep = norm > s_.clip ? float(s_.clip / norm) : 1.0f;
    if (s_.adam) {
      update(size_, m_.weights, m_.gradient, m_.moments, m_.moments + size_, keep, 1.0f, float(s_.rate / (1 - std::pow(0.9, t))),
             float(1 / std::sqrt(1 - std::pow(0.999, t))));
    } else {
      double *power = m_.loss + POWER;  // the mean square of a weight's gradient, over about 1,000 updates
      const double now = double(norm) * keep;
      *power += (now * now / double(net_.live() + (s_.hidden + 1) * s_.outputs) - *power) / std::min(t, 1000.0);
      add(m_.weights, float(-s_.rate * keep / (std::sqrt(*power) + 1e-8)), m_.gradient, size_);
    }
    net_.prepare(m_.weights);
  }

  Learning s_;
  Net net_;
  int64_t body_, outputs_, record_, size_;
  Memory m_{};
  Buffer room_;
  float *x_, *u_, *slope_, *raw_;
  std::vector<double> chances_;
};

}  // namespace TIDEGATE_ISA
