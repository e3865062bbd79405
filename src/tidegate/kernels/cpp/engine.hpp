// What the instruction sets offer to the rest: one table of functions each, over plain arrays of floats.
//
// Shapes, row-major: x (M, N, T, I) or shared by all models, states (M, N, H), y (M, N, T, H), weights as in PyTorch
// with a leading M: w_x (M, G*H, I), w_h (M, G*H, H), b_x and b_h (M, G*H). Null: not given, or not wanted.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace tidegate {

enum Cell { RNN_TANH, RNN_RELU, LSTM, GRU, CELLS };
constexpr int GATES[CELLS] = {1, 1, 4, 3}, PARTS[CELLS] = {1, 1, 2, 1};

struct Shape {
  int64_t models, rows, steps, inputs, hidden;
  bool shared;             // one x for all models
  bool reverse;            // each row from its last step to its first
  const int64_t *lengths;  // (N,) how many steps of each row there are; null: all
};

struct Weights {
  const float *w_x, *w_h, *b_x, *b_h;
};

struct Forward {
  const float *x, *state[2];
  float *y, *last[2];
};

struct Backward {
  const float *x, *dy, *dlast[2];
  float *dx, *dstate[2], *dw_x, *dw_h, *db_x, *db_h;
};

// How the caller has a loop run.
struct Parallel {
  // Items 0 .. count-1, on as many threads as it allows; an item never waits for another.
  std::function<void(int64_t count, const std::function<void(int64_t)> &item)> run;
  // Asked by a long item now and then: false, and it returns as it is; nobody will look at what it leaves.
  std::function<bool()> go_on;
};

// A model that takes readings as they come: layers, and what stands before and behind them (null: nothing).
struct Stepping {
  int64_t models, inputs, hidden, layers, outputs;
  const Weights *weights;         // of each layer
  const double *center, *spread;  // (I,) of the scale
  const float *head_w, *head_b;   // (M, O, H), (M, O)
};

class Stepper {
 public:
  virtual ~Stepper() = default;
  virtual int64_t padded() const = 0;  // floats of one state
  // x (M, S, T, I), state (layers, parts, M, S, padded) in and out, y (M, S, T, O), or H where there is no head.
  virtual void run(const double *x, int64_t streams, int64_t steps, float *state, float *y) = 0;
};

// One weight of all models (M, size), its gradient (null: leave it as it is) and the moments of its gradient.
struct Parameter {
  float *weight, *mean, *square;
  const float *grad;
  int64_t size;
};

struct Descent {
  int64_t models, count;
  const Parameter *parameters;  // `count` of them
  const double *rates;          // (M,)
  double decay, clip;
  int64_t *steps;  // (M,) how many were taken
  double *norms;   // (M,) of the gradients, before they are clipped
};

// One step of a cell from one state with many inputs (fan.hpp): each (M, A, G*H) and own (M, N, G*H) are gate inputs, which
// are added; state (M, N, H); y (M, N, A, H).
struct Fan {
  int64_t models, rows, answers, hidden;
  const float *each, *own, *state[2];
  const uint8_t *bytes;  // (M, N, A, H) random ones, or null: what is below `dropped` is dropped, the rest made `larger`
  int dropped;
  float larger;
};

struct FanBack {
  const float *dy;
  float *deach, *down, *dstate[2], *dw_h, *db_h;
};

// A network that learns from one stream, a reading at a time (online.hpp).
struct Learning {
  int64_t channels, inputs, hidden, outputs;  // inputs: the channels, and where `masked` whether each was seen
  bool labels, masked, adam;
  int64_t every, back, keep;  // readings between updates; gone back; in the ring
  double rate, clip, horizon, limit, drift;
};

struct Sizes {  // floats: of all weights, of those before the head, of a record of the ring; and of the states
  int64_t weights, body, record, parts, padded, influence;
};

// All that a learner remembers, the caller's: weights, moments (2, weights), gradient, state (parts, padded), ring (keep,
// record), influence; center, spread and count of each channel and value (3, C + O); ids (keep,); see online.hpp for the rest.
struct Memory {
  float *weights, *moments, *gradient, *state, *ring, *influence;
  double *scale, *loss;
  int64_t *ids, *counts;
};

class Online {
 public:
  virtual ~Online() = default;
  virtual Sizes sizes() const = 0;
  virtual void bind(const Memory &) = 0;
  // x (steps, C), NaN = missing; target (steps, O) or classes (steps, 1), NaN = none, or null; out (steps, O). Where not
  // `learn`, the weights stay as they are.
  virtual void run(const double *x, const double *target, int64_t steps, double *out, int64_t id, bool learn) = 0;
  virtual void late(const double *target, int64_t ago) = 0;
};

struct Engine {
  const char *name;
  // How many floats `forward` keeps for `backward`.
  int64_t (*kept)(Cell, const Shape &);
  // `keep`: where to keep them, or null.
  void (*forward)(Cell, const Shape &, const Weights &, const Forward &, float *keep, const Parallel &);
  // Overwrites what was kept.
  void (*backward)(Cell, const Shape &, const Weights &, const Backward &, float *kept, const Parallel &);
  std::unique_ptr<Stepper> (*stepper)(Cell, const Stepping &);
  // y (rows, count) = x (rows, K) w' + b
  void (*linear)(const float *x, const float *w, const float *b, int64_t rows, int64_t K, int64_t count, float *y);
  // Of the weights only w_h and b_h.
  void (*fan)(Cell, const Fan &, const Weights &, float *y, const Parallel &);
  void (*fan_back)(Cell, const Fan &, const Weights &, const FanBack &, const Parallel &);
  // One step downhill, in place.
  void (*adam)(const Descent &);
  // A learner of a cell by truncated backpropagation, or by exact recurrent learning; and of the linear recurrent unit.
  std::unique_ptr<Online> (*online)(Cell, bool exact, const Learning &);
  std::unique_ptr<Online> (*online_lru)(const Learning &);
};

#if defined(__x86_64__)
extern const Engine avx512, avx2;
#endif
extern const Engine baseline;

}  // namespace tidegate
