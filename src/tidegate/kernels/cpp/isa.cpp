// The engine of one instruction set. Compiled once for each, with TIDEGATE_ISA as its name and the flags that allow it.
#include "adam.hpp"
#include "backward.hpp"
#include "fan.hpp"
#include "forward.hpp"
#include "gru.hpp"
#include "lstm.hpp"
#include "rnn.hpp"
#include "stream.hpp"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

namespace TIDEGATE_ISA {

// online.cpp
std::unique_ptr<tidegate::Online> online(tidegate::Cell, bool exact, const tidegate::Learning &);
std::unique_ptr<tidegate::Online> online_lru(const tidegate::Learning &);

// f of the cell that is meant.
template <class F>
auto with(tidegate::Cell cell, const F &f) {
  switch (cell) {
    case tidegate::RNN_TANH: return f(Rnn{false});
    case tidegate::RNN_RELU: return f(Rnn{true});
    case tidegate::LSTM: return f(Lstm{});
    default: return f(Gru{});
  }
}

}  // namespace TIDEGATE_ISA

namespace tidegate {

const Engine TIDEGATE_ISA = {
    TEXT(TIDEGATE_ISA),
    [](Cell c, const Shape &s) {
      return ::TIDEGATE_ISA::with(c, [&](auto cell) { return ::TIDEGATE_ISA::kept<decltype(cell)>(s); });
    },
    [](Cell c, const Shape &s, const Weights &w, const Forward &f, float *keep, const Parallel &p) {
      ::TIDEGATE_ISA::with(c, [&](auto cell) { ::TIDEGATE_ISA::forward(cell, s, w, f, keep, p); });
    },
    [](Cell c, const Shape &s, const Weights &w, const Backward &f, float *kept, const Parallel &p) {
      ::TIDEGATE_ISA::with(c, [&](auto cell) { ::TIDEGATE_ISA::backward(cell, s, w, f, kept, p); });
    },
    [](Cell c, const Stepping &s) {
      return ::TIDEGATE_ISA::with(c, [&](auto cell) { return ::TIDEGATE_ISA::stepper(cell, s); });
    },
    ::TIDEGATE_ISA::linear,
    [](Cell c, const Fan &f, const Weights &w, float *y, const Parallel &p) {
      ::TIDEGATE_ISA::with(c, [&](auto cell) { ::TIDEGATE_ISA::fan(cell, f, w, y, p); });
    },
    [](Cell c, const Fan &f, const Weights &w, const FanBack &b, const Parallel &p) {
      ::TIDEGATE_ISA::with(c, [&](auto cell) { ::TIDEGATE_ISA::fan_back(cell, f, w, b, p); });
    },
    ::TIDEGATE_ISA::adam,
    ::TIDEGATE_ISA::online,
    ::TIDEGATE_ISA::online_lru,
};

}  // namespace tidegate
