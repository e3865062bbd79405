// The engine of one instruction set. Compiled once for each, with TIDEGATE_ISA as its name and the flags that allow it.
#include "adam.hpp"
#include "backward.hpp"
#include "forward.hpp"
#include "gru.hpp"
#include "lstm.hpp"
#include "rnn.hpp"
#include "stream.hpp"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

namespace TIDEGATE_ISA {

using KeptFloats = int64_t (*)(const Shape &);
using ForwardCall = void (*)(const Shape &, const Weights &, const Forward &, float *, const Parallel &);
using BackwardCall = void (*)(const Shape &, const Weights &, const Backward &, float *, const Parallel &);

// In the order of tidegate::Cell.
constexpr KeptFloats kept_by[] = {kept<Rnn<false>>, kept<Rnn<true>>, kept<Lstm>, kept<Gru>};
constexpr ForwardCall forward_by[] = {forward<Rnn<false>>, forward<Rnn<true>>, forward<Lstm>, forward<Gru>};
constexpr std::unique_ptr<tidegate::Stepper> (*stepper_by[])(const tidegate::Stepping &) = {
    stepper<Rnn<false>>, stepper<Rnn<true>>, stepper<Lstm>, stepper<Gru>};
constexpr BackwardCall backward_by[] = {backward<Rnn<false>>, backward<Rnn<true>>, backward<Lstm>, backward<Gru>};

}  // namespace TIDEGATE_ISA

namespace tidegate {

const Engine TIDEGATE_ISA = {
    TEXT(TIDEGATE_ISA),
    [](Cell c, const Shape &s) { return ::TIDEGATE_ISA::kept_by[c](s); },
    [](Cell c, const Shape &s, const Weights &w, const Forward &f, float *keep, const Parallel &p) {
      ::TIDEGATE_ISA::forward_by[c](s, w, f, keep, p);
    },
    [](Cell c, const Shape &s, const Weights &w, const Backward &f, float *kept, const Parallel &p) {
      ::TIDEGATE_ISA::backward_by[c](s, w, f, kept, p);
    },
    [](Cell c, const Stepping &s) { return ::TIDEGATE_ISA::stepper_by[c](s); },
    ::TIDEGATE_ISA::linear,
    ::TIDEGATE_ISA::adam,
};

}  // namespace tidegate
