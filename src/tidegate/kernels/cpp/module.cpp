// What Python sees of the core: `forward` and `backward` of one recurrent layer, a step of learning, over NumPy arrays
// that are read and written where they are. Everything that could make a loop run astray is checked here, by name, before it starts.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "engine.hpp"
#include "pool.hpp"
#include "threads.hpp"

namespace nb = nanobind;
using namespace tidegate;

namespace {

// ------------------------------------------------------------------ which engine

std::vector<const Engine *> engines() {  // the fastest first
  std::vector<const Engine *> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    found.push_back(&avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2);
#endif
  found.push_back(&baseline);
  return found;
}

const Engine *engine = engines().front();

std::string use(const std::string &name) {
  std::string known;
  for (const Engine *e : engines()) {
    if (name == e->name || name.empty()) return (engine = e)->name;
    known += std::string(known.empty() ? "" : ", ") + e->name;
  }
  throw nb::value_error(("no instruction set " + name + " on this machine; there are: " + known).c_str());
}

// ------------------------------------------------------------------ arguments

using Sides = std::vector<int64_t>;

std::string text(const Sides &shape) {
  std::string out = "(";
  for (size_t i = 0; i < shape.size(); i++) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + (shape.size() == 1 ? ",)" : ")");
}

[[noreturn]] void refuse(const std::string &name, const std::string &saw, const std::string &wanted) {
  throw nb::value_error((name + " is " + saw + "; wanted: " + wanted).c_str());
}

template <class T>
T *array(nb::handle given, const std::string &name, const Sides &shape, const char *type, bool write) {
  auto wanted = [&] { return std::string("a ") + type + " array of shape " + text(shape); };
  nb::ndarray<nb::device::cpu> a;
  nb::ndarray<nb::ro, nb::device::cpu> readable;
  if (!(write ? nb::try_cast(given, a) : nb::try_cast(given, readable)))
    refuse(name, "no array" + std::string(write ? " that can be written to" : "") + " but " +
                     nb::cast<std::string>(nb::repr(given.type())), wanted());
  auto look = [&](auto &a) {
    if (a.dtype() != nb::dtype<T>()) refuse(name, "an array of another type than " + std::string(type), wanted());
    bool fits = a.ndim() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); i++) fits = int64_t(a.shape(i)) == shape[i];
    if (!fits) refuse(name, "of shape " + text(Sides(a.shape_ptr(), a.shape_ptr() + a.ndim())), wanted());
    int64_t step = 1;
    for (size_t i = shape.size(); i-- > 0; step *= shape[i])
      if (a.size() && shape[i] > 1 && a.stride(i) != step) refuse(name, "not contiguous", wanted() + ", row after row in memory");
    return const_cast<T *>(static_cast<const T *>(a.data()));
  };
  return write ? look(a) : look(readable);
}

float *floats(nb::handle given, const std::string &name, const Sides &shape, bool write = false) {
  return given.is_none() ? nullptr : array<float>(given, name, shape, "float32", write);
}

nb::handle item(const nb::tuple &from, size_t i) { return i < from.size() ? from[i] : nb::handle(Py_None); }

constexpr size_t ANY = ~size_t(0);

Sides sides(nb::handle given, const std::string &name, size_t count = ANY) {
  nb::ndarray<nb::ro, nb::device::cpu> a;
  if (!nb::try_cast(given, a)) refuse(name, "no array", "a float32 array");
  Sides out;
  for (size_t i = 0; i < a.ndim(); i++) out.push_back(int64_t(a.shape(i)));
  if (count != ANY && out.size() != count) refuse(name, "of shape " + text(out), std::to_string(count) + " sides");
  return out;
}

Cell cell_of(const std::string &name) {
  const char *names[CELLS] = {"rnn_tanh", "rnn_relu", "lstm", "gru"};
  for (int c = 0; c < CELLS; c++)
    if (name == names[c]) return Cell(c);
  refuse("cell", "'" + name + "'", "rnn_tanh, rnn_relu, lstm or gru");
}

// ------------------------------------------------------------------ running

Threads threads;

// A loop over `count` threads that looks out for Ctrl-C ten times a second, on the thread that called.
struct Loop {
  int count;
  std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> stopped{false};
  std::chrono::steady_clock::time_point looked = std::chrono::steady_clock::now();

  Parallel parallel() {
    return {[this](int64_t items, const std::function<void(int64_t)> &item) {
              threads.run(count, items, item, [this] { return go_on(); });
            },
            [this] { return go_on(); }};
  }
  bool go_on() {
    if (stopped || std::this_thread::get_id() != caller) return !stopped;
    const auto now = std::chrono::steady_clock::now();
    if (now - looked < std::chrono::milliseconds(100)) return true;
    looked = now;
    const nb::gil_scoped_acquire python;
    if (PyErr_CheckSignals() != 0) stopped = true;
    return !stopped;
  }
};

template <class Work>
void run(const Shape &s, Cell cell, int threads_wanted, Work work) {
  // A thread that is woken costs more than it takes off a small call.
  const double operations = 2.0 * s.models * s.rows * s.steps * GATES[cell] * s.hidden * (s.hidden + s.inputs);
  Loop loop{operations < 1.5e7 ? 1 : threads_wanted};
  {
    const nb::gil_scoped_release others;
    work(loop.parallel());
  }
  if (loop.stopped) throw nb::python_error();
}

// ------------------------------------------------------------------ what forward keeps for backward

Pool &pool() {
  static Pool *ours = new Pool;  // never taken down: tapes may be freed while Python shuts down
  return *ours;
}

struct Tape {
  const Engine *made_by;
  Cell cell;
  Shape shape;
  std::vector<int64_t> lengths;
  Pool::Buffer kept;
  bool used = false;

  Tape(const Engine *e, Cell c, const Shape &s) : made_by(e), cell(c), shape(s) {
    if (s.lengths) {
      lengths.assign(s.lengths, s.lengths + s.rows);
      shape.lengths = lengths.data();
    }
    kept = pool().take(size_t(e->kept(c, shape)));
  }
  Tape(const Tape &) = delete;
  ~Tape() { pool().give(std::move(kept)); }
};

// `own` holds the lengths: nobody else can change them under a call that has let go of the GIL.
Shape shape_of(Cell cell, nb::handle x, const nb::tuple &weights, nb::handle lengths, bool reverse, Sides &own) {
  const Sides xs = sides(x, "x", 4), ws = sides(item(weights, 1), "w_h", 3);
  Shape s{ws[0], xs[1], xs[2], xs[3], ws[2], xs[0] == 1 && ws[0] != 1, reverse, nullptr};
  if (ws[1] != GATES[cell] * s.hidden || s.hidden < 1)
    refuse("w_h", "of shape " + text(ws), "(M, " + std::to_string(GATES[cell]) + " * H, H)");
  if (!s.shared && xs[0] != s.models) refuse("x", "for " + std::to_string(xs[0]) + " models", std::to_string(s.models));
  if (lengths.is_none()) return s;
  const int64_t *given = array<int64_t>(lengths, "lengths", {s.rows}, "int64", false);
  own.assign(given, given + s.rows);
  s.lengths = own.data();
  for (int64_t i = 0; i < s.rows; i++)
    if (s.lengths[i] < 0 || s.lengths[i] > s.steps)
      refuse("lengths[" + std::to_string(i) + "]", std::to_string(s.lengths[i]), "0 to " + std::to_string(s.steps));
  return s;
}

float *needed(nb::handle given, const std::string &name, const Sides &shape) {
  if (given.is_none()) refuse(name, "missing", "a float32 array of shape " + text(shape));
  return floats(given, name, shape);
}

Weights weights_of(Cell cell, const Shape &s, const nb::tuple &weights) {
  if (weights.size() != 4) refuse("weights", std::to_string(weights.size()) + " arrays", "w_x, w_h, b_x, b_h; a bias may be None");
  const int64_t rows = GATES[cell] * s.hidden;
  return {needed(item(weights, 0), "w_x", {s.models, rows, s.inputs}),
          needed(item(weights, 1), "w_h", {s.models, rows, s.hidden}),
          floats(item(weights, 2), "b_x", {s.models, rows}), floats(item(weights, 3), "b_h", {s.models, rows})};
}

float *input_of(const Shape &s, nb::handle x) {
  return needed(x, "x", {s.shared ? 1 : s.models, s.rows, s.steps, s.inputs});
}

nb::object forward(const std::string &name, nb::handle x, nb::tuple state, nb::tuple weights, nb::handle lengths,
                   bool reverse, nb::handle y, nb::tuple last, bool keep, int threads_wanted) {
  const Cell cell = cell_of(name);
  Sides own;
  const Shape s = shape_of(cell, x, weights, lengths, reverse, own);
  const Weights w = weights_of(cell, s, weights);
  const Sides one = {s.models, s.rows, s.hidden}, all = {s.models, s.rows, s.steps, s.hidden};
  const Forward f{input_of(s, x),
                  {floats(item(state, 0), "h", one), floats(item(state, 1), "c", one)},
                  floats(y, "y", all, true),
                  {floats(item(last, 0), "last h", one, true), floats(item(last, 1), "last c", one, true)}};
  std::unique_ptr<Tape> tape(keep ? new Tape(engine, cell, s) : nullptr);
  const Engine *e = engine;
  run(s, cell, threads_wanted, [&](const Parallel &p) { e->forward(cell, s, w, f, keep ? tape->kept.memory.get() : nullptr, p); });
  return tape ? nb::cast(tape.release(), nb::rv_policy::take_ownership) : nb::none();
}

void backward(Tape &tape, nb::handle x, nb::tuple weights, nb::handle dy, nb::tuple dlast, nb::handle dx,
              nb::tuple dstate, nb::tuple dweights, int threads_wanted) {
  if (tape.used) throw nb::value_error("this forward pass has been gone back through; run it again");
  const Shape &s = tape.shape;
  const Weights w = weights_of(tape.cell, s, weights);
  const int64_t rows = GATES[tape.cell] * s.hidden;
  const Sides one = {s.models, s.rows, s.hidden};
  const Backward f{
      input_of(s, x),
      floats(dy, "dy", {s.models, s.rows, s.steps, s.hidden}),
      {floats(item(dlast, 0), "dlast h", one), floats(item(dlast, 1), "dlast c", one)},
      floats(dx, "dx", {s.models, s.rows, s.steps, s.inputs}, true),
      {floats(item(dstate, 0), "dh", one, true), floats(item(dstate, 1), "dc", one, true)},
      floats(item(dweights, 0), "dw_x", {s.models, rows, s.inputs}, true),
      floats(item(dweights, 1), "dw_h", {s.models, rows, s.hidden}, true),
      floats(item(dweights, 2), "db_x", {s.models, rows}, true),
      floats(item(dweights, 3), "db_h", {s.models, rows}, true)};
  tape.used = true;
  run(s, tape.cell, threads_wanted,
      [&](const Parallel &p) { tape.made_by->backward(tape.cell, s, w, f, tape.kept.memory.get(), p); });
}

// ------------------------------------------------------------------ many answers from one state

// `weights`: w_h and b_h; `drop`: (bytes, dropped, larger), or () where nothing is dropped.
Fan fan_of(Cell cell, const nb::tuple &state, const nb::tuple &weights, nb::handle each, nb::handle own, const nb::tuple &drop,
           Weights &w) {
  const Sides rows = sides(own, "own", 3), answers = sides(each, "each", 3), ws = sides(item(weights, 0), "w_h", 3);
  const int64_t M = ws[0], H = ws[2], gates = GATES[cell] * H;
  Fan f{M, rows[1], answers[1], H, nullptr, nullptr, {nullptr, nullptr}, nullptr, 0, 1.0f};
  w = {nullptr, needed(item(weights, 0), "w_h", {M, gates, H}), nullptr, floats(item(weights, 1), "b_h", {M, gates})};
  f.each = needed(each, "each", {M, f.answers, gates});
  f.own = needed(own, "own", {M, f.rows, gates});
  for (int p = 0; p < PARTS[cell]; p++) f.state[p] = needed(item(state, size_t(p)), p ? "c" : "h", {M, f.rows, H});
  if (drop.size() == 3) {
    f.bytes = array<uint8_t>(drop[0], "bytes", {M, f.rows, f.answers, H}, "uint8", false);
    f.dropped = nb::cast<int>(drop[1]);
    f.larger = nb::cast<float>(drop[2]);
  }
  return f;
}

template <class Work>
void run(const Fan &f, int threads_wanted, Work work) {
  const double units = double(f.models) * f.rows * f.hidden;
  Loop loop{units * (f.hidden + 16 * f.answers) < 2e6 ? 1 : threads_wanted};
  {
    const nb::gil_scoped_release others;
    work(loop.parallel());
  }
  if (loop.stopped) throw nb::python_error();
}

void fan(const std::string &name, nb::tuple state, nb::tuple weights, nb::handle each, nb::handle own, nb::tuple drop,
         nb::handle y, int threads_wanted) {
  const Cell cell = cell_of(name);
  Weights w;
  const Fan f = fan_of(cell, state, weights, each, own, drop, w);
  float *to = array<float>(y, "y", {f.models, f.rows, f.answers, f.hidden}, "float32", true);
  run(f, threads_wanted, [&](const Parallel &p) { engine->fan(cell, f, w, to, p); });
}

// `found`: where gradients are written: of each, own, the state's parts, w_h and b_h.
void fan_back(const std::string &name, nb::tuple state, nb::tuple weights, nb::handle each, nb::handle own, nb::tuple drop,
              nb::handle dy, nb::tuple found, int threads_wanted) {
  const Cell cell = cell_of(name);
  Weights w;
  const Fan f = fan_of(cell, state, weights, each, own, drop, w);
  const int64_t gates = GATES[cell] * f.hidden, parts = PARTS[cell];
  if (int64_t(found.size()) != parts + 4) refuse("found", std::to_string(found.size()) + " arrays", std::to_string(parts + 4));
  auto to = [&](int64_t i, const char *what, const Sides &shape) {
    return array<float>(found[size_t(i)], what, shape, "float32", true);
  };
  const Sides one = {f.models, f.rows, f.hidden};
  const FanBack b{needed(dy, "dy", {f.models, f.rows, f.answers, f.hidden}),
                  to(0, "deach", {f.models, f.answers, gates}),
                  to(1, "down", {f.models, f.rows, gates}),
                  {to(2, "dh", one), parts > 1 ? to(3, "dc", one) : nullptr},
                  to(parts + 2, "dw_h", {f.models, gates, f.hidden}),
                  to(parts + 3, "db_h", {f.models, gates})};
  run(f, threads_wanted, [&](const Parallel &p) { engine->fan_back(cell, f, w, b, p); });
}

// ------------------------------------------------------------------ learning

// AdamW over the weights of M models, in place; `adam.hpp` has the equations. Weights, moments and counts are looked at
// once, so that a step looks at gradients only: looking costs ten times the arithmetic of a small network.
class Adam {
 public:
  Adam(nb::tuple weights, nb::tuple means, nb::tuple squares, nb::object steps)
      : alive_(nb::make_tuple(weights, means, squares, steps)), models_(sides(steps, "steps", 1)[0]) {
    steps_ = array<int64_t>(steps, "steps", {models_}, "int64", true);
    for (size_t i = 0; i < weights.size(); i++) {
      const std::string which = " " + std::to_string(i);
      shapes_.push_back(sides(weights[i], "weights" + which));
      const Sides &shape = shapes_.back();
      if (shape.empty() || shape[0] != models_)
        refuse("weights" + which, "of shape " + text(shape), std::to_string(models_) + " models on its first side");
      int64_t size = 1;
      for (size_t side = 1; side < shape.size(); side++) size *= shape[side];
      auto in = [&](const nb::tuple &from, const char *name) {
        return array<float>(item(from, i), name + which, shape, "float32", true);
      };
      parameters_.push_back({in(weights, "weights"), in(means, "means"), in(squares, "squares"), nullptr, size});
    }
  }

  // A gradient may be None: that weight stays as it is.
  void step(nb::tuple grads, nb::handle rates, double decay, double clip, nb::handle norms) {
    if (grads.size() != parameters_.size())
      refuse("grads", std::to_string(grads.size()) + " arrays", std::to_string(parameters_.size()) + ", one a weight");
    std::vector<Parameter> now = parameters_;  // a refusal leaves no gradient behind
    for (size_t i = 0; i < now.size(); i++) now[i].grad = floats(grads[i], "grads " + std::to_string(i), shapes_[i]);
    if (!(decay >= 0)) refuse("decay", std::to_string(decay), "0 or more");
    if (!(clip > 0)) refuse("clip", std::to_string(clip), "more than 0");
    engine->adam({models_, int64_t(now.size()), now.data(), array<double>(rates, "rates", {models_}, "float64", false),
                  decay, clip, steps_, array<double>(norms, "norms", {models_}, "float64", true)});
  }

 private:
  nb::object alive_;
  int64_t models_, *steps_;
  std::vector<Sides> shapes_;
  std::vector<Parameter> parameters_;
};

// ------------------------------------------------------------------ streaming

// Readings of S streams of each of M models, as they come; the state is an array of the caller's.
class Live {
 public:
  Live(const std::string &name, const nb::list &layers, nb::tuple scale, nb::tuple head) : cell_(cell_of(name)) {
    if (nb::len(layers) == 0) refuse("layers", "empty", "the weights of one layer or more");
    const Sides x = sides(item(nb::cast<nb::tuple>(layers[0]), 0), "w_x", 3);
    const Sides h = sides(item(nb::cast<nb::tuple>(layers[0]), 1), "w_h", 3);
    shape_ = {x[0], x[2], h[2], int64_t(nb::len(layers)), h[2], nullptr, nullptr, nullptr, nullptr, nullptr};
    std::vector<Weights> weights;
    for (int64_t l = 0; l < shape_.layers; l++) {
      const Shape one{x[0], 1, 1, l ? h[2] : x[2], h[2], false, false, nullptr};
      weights.push_back(weights_of(cell_, one, nb::cast<nb::tuple>(layers[l])));
    }
    shape_.weights = weights.data();
    if (nb::len(scale)) {
      shape_.center = array<double>(item(scale, 0), "center", {x[2]}, "float64", false);
      shape_.spread = array<double>(item(scale, 1), "spread", {x[2]}, "float64", false);
    }
    if (nb::len(head)) {
      shape_.outputs = sides(head[0], "head w", 3)[1];
      shape_.head_w = floats(head[0], "head w", {x[0], shape_.outputs, h[2]});
      shape_.head_b = floats(item(head, 1), "head b", {x[0], shape_.outputs});
    }
    stepper_ = engine->stepper(cell_, shape_);
  }

  // Where readings come from and where answers go, from now on: x (M, S, T, I) float64, state (layers, parts, M, S, padded),
  // y (M, S, T, O). They are looked at here, once, so that `run` has nothing to do but run.
  void bind(nb::object x, nb::object state, nb::object y) {
    const Sides given = sides(x, "x", 4);
    const int64_t streams = given[1], steps = given[2];
    const double *from = array<double>(x, "x", {shape_.models, streams, steps, shape_.inputs}, "float64", false);
    const Sides inside = {shape_.layers, PARTS[cell_], shape_.models, streams, stepper_->padded()};
    float *where = array<float>(state, "state", inside, "float32", true);
    y_ = array<float>(y, "y", {shape_.models, streams, steps, shape_.outputs}, "float32", true);
    x_ = from, state_ = where, streams_ = streams, steps_ = steps;  // nothing is refused any more
    alive_ = nb::make_tuple(x, state, y);
  }
  void run() {
    if (!x_) refuse("Live", "bound to no arrays", "bind(x, state, y) first");
    const double work = double(shape_.models * streams_ * steps_ * shape_.layers) * shape_.hidden * shape_.hidden;
    if (work < 1e6) return stepper_->run(x_, streams_, steps_, state_, y_);  // sooner done than the GIL handed over
    if (busy_.exchange(true)) throw std::runtime_error("these streams are being stepped by another thread: one at a time");
    const nb::object kept = alive_;
    {
      const nb::gil_scoped_release others;
      stepper_->run(x_, streams_, steps_, state_, y_);
    }
    busy_ = false;
  }
  int64_t padded() const { return stepper_->padded(); }

 private:
  int64_t streams_ = 0, steps_ = 0;
  const double *x_ = nullptr;
  float *state_ = nullptr, *y_ = nullptr;
  std::atomic<bool> busy_{false};
  nb::object alive_;
  Cell cell_;
  Stepping shape_;
  std::unique_ptr<Stepper> stepper_;
};

// ------------------------------------------------------------------ learning from a stream

// A learner of one stream; all that it remembers lies in arrays of the caller's, which are looked at when they are bound.
class Learner {
 public:
  Learner(const std::string &cell, bool exact, nb::tuple shape, nb::tuple kind, nb::tuple pace, nb::tuple rates) {
    auto whole = [](const nb::tuple &from, size_t i) { return nb::cast<int64_t>(from[i]); };
    auto real = [&](size_t i) { return nb::cast<double>(rates[i]); };
    const bool masked = nb::cast<bool>(kind[1]);
    s_ = {whole(shape, 0), whole(shape, 0) * (masked ? 2 : 1), whole(shape, 1), whole(shape, 2),
          nb::cast<bool>(kind[0]), masked, nb::cast<bool>(kind[2]), whole(pace, 0), whole(pace, 1), whole(pace, 2),
          real(0), real(1), real(2), real(3), real(4)};
    const int64_t most = 1 << 20;
    for (int64_t n : {s_.channels, s_.hidden, s_.outputs, s_.every, s_.back, s_.keep})
      if (n < 1 || n > most) refuse("Learner", "given " + std::to_string(n), "sizes from 1 to a million");
    if (s_.back < s_.every || s_.keep < s_.back) refuse("keep, back, every", "not in this order", "keep >= back >= every");
    if (exact && double(s_.hidden) * s_.hidden * s_.hidden > 1e8) refuse("hidden", std::to_string(s_.hidden), "less for exact");
    for (const char *name : NAMES) names_.push_back(nb::steal(PyUnicode_InternFromString(name)));
    learner_ = cell == "lru" ? engine->online_lru(s_) : engine->online(cell_of(cell), exact, s_);
  }

  nb::tuple sizes() const {
    const Sizes s = learner_->sizes();
    return nb::make_tuple(s.weights, s.body, s.record, s.parts, s.padded, s.influence);
  }

  // Whether these are the arrays that are bound: asked for every reading, so by name and address only.
  bool holds(nb::dict memory) const {
    if (!bound_) return false;
    for (size_t i = 0; i < std::size(NAMES); i++) {
      PyObject *found = PyDict_GetItem(memory.ptr(), names_[i].ptr());
      if (!found || found != nb::handle(arrays_[i]).ptr()) return false;
    }
    return true;
  }

  void bind(nb::tuple memory, nb::object x, nb::object target, nb::object out) {
    const Sizes s = learner_->sizes();
    const int64_t rulers = s_.channels + (s_.labels ? 0 : s_.outputs);
    auto f = [&](size_t i, const char *name, const Sides &shape) { return array<float>(item(memory, i), name, shape, "float32", true); };
    auto d = [&](size_t i, const char *name, const Sides &shape) { return array<double>(item(memory, i), name, shape, "float64", true); };
    auto n = [&](size_t i, const char *name, const Sides &shape) { return array<int64_t>(item(memory, i), name, shape, "int64", true); };
    const Memory m{f(0, "weights", {s.weights}), f(1, "moments", {2, s.weights}), f(2, "gradient", {s.weights}),
                   f(3, "state", {s.parts, s.padded}), f(4, "ring", {s_.keep, s.record}), f(5, "influence", {s.influence}),
                   d(6, "scale", {3, rulers}), d(7, "loss", {8}), n(8, "ids", {s_.keep}), n(9, "counts", {12})};
    const int64_t most = int64_t(1) << 62, read = m.counts[0];
    for (int i = 0; i < 12; i++)
      if (m.counts[i] < 0 || m.counts[i] >= most) refuse("counts", std::to_string(m.counts[i]), "what a learner counted");
    if (m.counts[9] > read || m.counts[11] > read || m.counts[3] > s_.every) refuse("counts", "out of order", "what a learner counted");
    const double *from = array<double>(x, "x", {s_.channels}, "float64", false);
    const double *wanted = array<double>(target, "target", {s_.labels ? 1 : s_.outputs}, "float64", false);
    double *to = array<double>(out, "out", {s_.outputs}, "float64", true);
    learner_->bind(m);
    memory_ = m, x_ = from, target_ = wanted, out_ = to, bound_ = true;
    arrays_ = memory, alive_ = nb::make_tuple(x, target, out);
  }

  // One reading, from and to the arrays that were bound; false where it holds what no reading or target may be.
  bool step(bool told, int64_t id, bool learn) {
    ready();
    for (int64_t i = 0; i < s_.channels; i++)
      if (std::abs(x_[i]) > LARGEST) return false;
    if (told && !possible()) return false;
    learner_->run(x_, told ? target_ : nullptr, 1, out_, id, learn);
    return true;
  }
  void steps(nb::handle x, nb::handle target, nb::handle out, bool learn) {
    ready();
    const Sides given = sides(x, "x", 2);
    const double *from = array<double>(x, "x", {given[0], s_.channels}, "float64", false);
    const double *wanted = target.is_none() ? nullptr
        : array<double>(target, "target", {given[0], s_.labels ? 1 : s_.outputs}, "float64", false);
    double *to = array<double>(out, "out", {given[0], s_.outputs}, "float64", true);
    for (int64_t t = 0; t < given[0]; t += 256) {  // Ctrl-C is answered between readings
      learner_->run(from + t * s_.channels, wanted ? wanted + t * (s_.labels ? 1 : s_.outputs) : nullptr,
                    std::min<int64_t>(256, given[0] - t), to + t * s_.outputs, -1, learn);
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
  }
  // The target that was bound is that of the reading `ago` before the newest.
  bool late(int64_t ago) {
    ready();
    if (!possible()) return false;
    if (ago < 0 || ago >= std::min(memory_.counts[0], s_.keep)) refuse("ago", std::to_string(ago), "a reading that is kept");
    learner_->late(target_, ago);
    return true;
  }

 private:
  static constexpr const char *NAMES[] = {"weights", "moments", "gradient", "state", "ring", "influence", "scale", "loss", "ids", "counts"};
  static constexpr double LARGEST = 1e150;  // as in series.py

  bool possible() const {
    for (int64_t i = 0; i < (s_.labels ? 1 : s_.outputs); i++) {
      const double y = target_[i];
      if (!std::isnan(y) && (s_.labels ? y < 0 || y >= double(s_.outputs) || y != std::floor(y) : std::abs(y) > LARGEST)) return false;
    }
    return true;
  }
  void ready() const {
    if (!bound_) refuse("Learner", "bound to no memory", "bind it first");
  }

  Learning s_;
  std::unique_ptr<Online> learner_;
  Memory memory_{};
  const double *x_ = nullptr, *target_ = nullptr;
  double *out_ = nullptr;
  bool bound_ = false;
  std::vector<nb::object> names_;
  nb::tuple arrays_;
  nb::object alive_;
};

void linear(nb::handle x, nb::handle w, nb::handle b, nb::handle y) {
  const Sides xs = sides(x, "x", 2), ws = sides(w, "w", 2);
  const float *in = floats(x, "x", {xs[0], ws[1]}), *heavy = floats(w, "w", ws);
  const float *plus = floats(b, "b", {ws[0]});
  float *to = array<float>(y, "y", {xs[0], ws[0]}, "float32", true);
  if (double(xs[0]) * ws[0] * ws[1] < 1e6) return engine->linear(in, heavy, plus, xs[0], ws[1], ws[0], to);
  const nb::gil_scoped_release others;
  engine->linear(in, heavy, plus, xs[0], ws[1], ws[0], to);
}

}  // namespace

NB_MODULE(_core, m) {
  nb::set_leak_warnings(false);  // a gradient that is alive when Python ends is no leak
  m.doc() = "The compiled recurrent core; tidegate.kernels.cpu is its face.";
  nb::class_<Tape>(m, "Tape").def_ro("used", &Tape::used);
  nb::class_<Adam>(m, "Adam")
      .def(nb::init<nb::tuple, nb::tuple, nb::tuple, nb::object>(), nb::arg("weights"), nb::arg("means"),
           nb::arg("squares"), nb::arg("steps"))
      .def("step", &Adam::step, nb::arg("grads"), nb::arg("rates"), nb::arg("decay"), nb::arg("clip"), nb::arg("norms"));
  nb::class_<Live>(m, "Live")
      .def(nb::init<const std::string &, const nb::list &, nb::tuple, nb::tuple>(), nb::arg("cell"), nb::arg("layers"),
           nb::arg("scale"), nb::arg("head"))
      .def("bind", &Live::bind, nb::arg("x"), nb::arg("state"), nb::arg("y"))
      .def("run", &Live::run)
      .def_prop_ro("padded", &Live::padded);
  nb::class_<Learner>(m, "Learner")
      .def(nb::init<const std::string &, bool, nb::tuple, nb::tuple, nb::tuple, nb::tuple>(), nb::arg("cell"), nb::arg("exact"),
           nb::arg("shape"), nb::arg("kind"), nb::arg("pace"), nb::arg("rates"))
      .def_prop_ro("sizes", &Learner::sizes)
      .def("holds", &Learner::holds, nb::arg("memory"))
      .def("bind", &Learner::bind, nb::arg("memory"), nb::arg("x"), nb::arg("target"), nb::arg("out"))
      .def("step", &Learner::step, nb::arg("told"), nb::arg("id"), nb::arg("learn"))
      .def("steps", &Learner::steps, nb::arg("x"), nb::arg("target").none(), nb::arg("out"), nb::arg("learn"))
      .def("late", &Learner::late, nb::arg("ago"));
  m.def("linear", &linear, nb::arg("x"), nb::arg("w"), nb::arg("b").none(), nb::arg("y"));
  m.def("fan", &fan, nb::arg("cell"), nb::arg("state"), nb::arg("weights"), nb::arg("each"), nb::arg("own"), nb::arg("drop"),
        nb::arg("y"), nb::arg("threads"));
  m.def("fan_back", &fan_back, nb::arg("cell"), nb::arg("state"), nb::arg("weights"), nb::arg("each"), nb::arg("own"),
        nb::arg("drop"), nb::arg("dy"), nb::arg("found"), nb::arg("threads"));
  m.def("engines", [] {
    std::vector<std::string> names;
    for (const Engine *e : engines()) names.emplace_back(e->name);
    return names;
  });
  m.def("engine", [] { return std::string(engine->name); });
  m.def("use", &use, nb::arg("name"));
  m.def("forward", &forward, nb::arg("cell"), nb::arg("x").none(), nb::arg("state"), nb::arg("weights"),
        nb::arg("lengths").none(), nb::arg("reverse"), nb::arg("y").none(), nb::arg("last"), nb::arg("keep"),
        nb::arg("threads"));
  m.def("backward", &backward, nb::arg("tape"), nb::arg("x").none(), nb::arg("weights"), nb::arg("dy").none(),
        nb::arg("dlast"), nb::arg("dx").none(), nb::arg("dstate"), nb::arg("dweights"), nb::arg("threads"));
}
