// The core without Python: one engine against the equations in double, for a processor that is not this machine's.
//
// For each cell the outputs of a few rows, and the slope of a weighted sum of them along random directions of all
// weights and inputs, which the gradients must say. Exits with 1 where either is off.
#include <cmath>
#include <cstdio>
#include <random>

#include "../src/tidegate/kernels/cpp/engine.hpp"

using namespace tidegate;
using Numbers = std::vector<double>;

struct Net {
  Cell cell;
  Shape s;
  Numbers x, w_x, w_h, b_x, b_h;
  Numbers *all[5] = {&x, &w_x, &w_h, &b_x, &b_h};
};

static double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

static Numbers outputs(const Net &n) {
  const int64_t H = n.s.hidden, I = n.s.inputs, T = n.s.steps, G = GATES[n.cell];
  Numbers y;
  for (int64_t row = 0; row < n.s.rows; row++) {
    Numbers h(H), c(H);
    for (int64_t t = 0; t < T; t++) {
      Numbers before = h;
      for (int64_t u = 0; u < H; u++) {
        double in[4], from[4];
        for (int64_t g = 0; g < G; g++) {
          in[g] = n.b_x[g * H + u], from[g] = n.b_h[g * H + u];
          for (int64_t k = 0; k < I; k++) in[g] += n.w_x[(g * H + u) * I + k] * n.x[(row * T + t) * I + k];
          for (int64_t k = 0; k < H; k++) from[g] += n.w_h[(g * H + u) * H + k] * before[k];
        }
        auto sum = [&](int g) { return in[g] + from[g]; };
        if (n.cell == GRU) {
          const double z = sigmoid(sum(1)), fresh = std::tanh(in[2] + sigmoid(sum(0)) * from[2]);
          h[u] = fresh + z * (before[u] - fresh);
        } else if (n.cell == LSTM) {
          c[u] = sigmoid(sum(1)) * c[u] + sigmoid(sum(0)) * std::tanh(sum(2));
          h[u] = sigmoid(sum(3)) * std::tanh(c[u]);
        } else {
          h[u] = n.cell == RNN_TANH ? std::tanh(sum(0)) : std::fmax(sum(0), 0.0);
        }
      }
      y.insert(y.end(), h.begin(), h.end());
    }
  }
  return y;
}

static bool good(Cell cell, int64_t rows, int64_t steps, int64_t inputs, int64_t hidden) {
  std::mt19937 draw(7);
  std::uniform_real_distribution<double> uniform(-1, 1);
  const int64_t gates = GATES[cell] * hidden;
  Net n{cell, {1, rows, steps, inputs, hidden, false, false, nullptr}, Numbers(rows * steps * inputs),
        Numbers(gates * inputs), Numbers(gates * hidden), Numbers(gates), Numbers(gates)};
  std::vector<std::vector<float>> given, found;
  for (Numbers *part : n.all) {
    for (double &v : *part) v = float(uniform(draw) / std::sqrt(double(hidden)));
    given.emplace_back(part->begin(), part->end()), found.emplace_back(part->size());
  }
  std::vector<float> y(rows * steps * hidden), dy(y.size()), last[2], kept;
  for (auto &part : last) part.resize(rows * hidden);
  for (float &v : dy) v = float(uniform(draw));
  const Parallel alone{[](int64_t count, const std::function<void(int64_t)> &item) {
                         for (int64_t i = 0; i < count; i++) item(i);
                       },
                       [] { return true; }};
  const Weights w{given[1].data(), given[2].data(), given[3].data(), given[4].data()};
  kept.resize(baseline.kept(cell, n.s));
  baseline.forward(cell, n.s, w, {given[0].data(), {}, y.data(), {last[0].data(), last[1].data()}}, kept.data(), alone);
  baseline.backward(cell, n.s, w, {given[0].data(), dy.data(), {}, found[0].data(), {}, found[1].data(), found[2].data(),
                                   found[3].data(), found[4].data()}, kept.data(), alone);
  double off = 0, told = 0, slope = 0;
  const Numbers exact = outputs(n);
  for (size_t i = 0; i < y.size(); i++) off = std::fmax(off, std::fabs(y[i] - exact[i]));
  std::vector<Numbers> way;
  for (size_t p = 0; p < found.size(); p++) {
    way.emplace_back();
    for (float g : found[p]) way[p].push_back(uniform(draw)), told += g * way[p].back();
  }
  for (int side : {1, -2}) {  // a step there, then the same to the other side
    for (size_t p = 0; p < way.size(); p++)
      for (size_t i = 0; i < way[p].size(); i++) (*n.all[p])[i] += side * 1e-6 * way[p][i];
    const Numbers moved = outputs(n);
    for (size_t i = 0; i < y.size(); i++) slope += (side > 0 ? 1 : -1) * moved[i] * dy[i] / 2e-6;
  }
  const double apart = std::fabs(told - slope) / std::fmax(1.0, std::fabs(slope));
  std::printf("cell %d, (%ld, %ld, %ld, %ld): outputs off %.1e, slope off %.1e\n", cell, long(rows), long(steps),
              long(inputs), long(hidden), off, apart);
  return off < 1e-6 && apart < 1e-4;
}

int main() {
  bool all = true;
  for (Cell cell : {RNN_TANH, LSTM, GRU})
    for (int64_t hidden : {1, 5, 16, 33}) all = good(cell, 7, 9, 3, hidden) && good(cell, 70, 4, 20, hidden) && all;
  return all ? 0 : 1;
}
