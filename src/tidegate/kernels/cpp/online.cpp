// What one instruction set offers for learning online; compiled beside isa.cpp, once for each.
#include "gru.hpp"
#include "lstm.hpp"
#include "online_cells.hpp"
#include "online_lru.hpp"
#include "rnn.hpp"

namespace TIDEGATE_ISA {

using Made = std::unique_ptr<tidegate::Online>;

template <class Cell>
Made learner(const Cell &cell, bool exact, const Learning &s) {
  return std::make_unique<Pupil<Recurrent<Cell>>>(Recurrent<Cell>(cell, exact, s), s);
}

Made online(tidegate::Cell cell, bool exact, const Learning &s) {
  switch (cell) {
    case tidegate::RNN_TANH: return learner(Rnn{false}, exact, s);
    case tidegate::RNN_RELU: return learner(Rnn{true}, exact, s);
    case tidegate::LSTM: return learner(Lstm{}, exact, s);
    default: return learner(Gru{}, exact, s);
  }
}

Made online_lru(const Learning &s) { return std::make_unique<Pupil<Lru>>(Lru(s), s); }

}  // namespace TIDEGATE_ISA
