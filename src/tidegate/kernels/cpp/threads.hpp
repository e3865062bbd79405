// A few threads that wait for work, and a loop dealt out among them.
//
// They meet once a call, at its end. A thread takes the next item when it is done with one, so the order in which items
// run is open; whoever uses this must not let bits depend on it. Who waits looks for PATIENCE before it sleeps: to be woken
// takes longer than a small layer's step. After a fork the child starts with none, and makes its own.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tidegate {

constexpr auto PATIENCE = std::chrono::microseconds(200);

// Until `ready`, but not longer than that.
template <class Ready>
void look_out(const Ready &ready) {
  const auto end = std::chrono::steady_clock::now() + PATIENCE;
  while (!ready() && std::chrono::steady_clock::now() < end)
    for (int i = 0; i < 32 && !ready(); i++) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
}

class Threads {
 public:
  // Runs item(0) .. item(count - 1) on up to `threads` threads, this one among them; `go_on` is asked here, between
  // items: false leaves out those not begun.
  void run(int threads, int64_t count, const std::function<void(int64_t)> &item, const std::function<bool()> &go_on) {
    Team *mine = threads < 2 || count < 2 ? nullptr : ours();
    if (!mine || mine->taken.exchange(true)) {  // another call has the threads, or the one that this interrupts
      for (int64_t i = 0; i < count && go_on(); i++) item(i);
      return;
    }
    Team &team = *mine;
    std::exception_ptr failed;
    const std::function<void(int64_t)> safe = [&](int64_t i) {
      try {
        item(i);
      } catch (...) {  // no memory, say: told where the call was made, not on a thread that nobody listens to
        const std::lock_guard<std::mutex> lock(team.mutex);
        failed = std::current_exception();
        team.next = count;
      }
    };
    const int helpers = int(std::min<int64_t>(threads, count)) - 1;
    while (int(team.threads.size()) < helpers) team.start();
    {
      const std::lock_guard<std::mutex> lock(team.mutex);
      team.item = &safe, team.count = count, team.next = 0, team.wanted = helpers, team.busy = helpers, team.round++;
    }
    team.begin.notify_all();
    for (int64_t i; (i = team.next++) < count;) {
      safe(i);
      if (!go_on()) team.next = count;
    }
    look_out([&] { return team.busy == 0; });
    std::unique_lock<std::mutex> lock(team.mutex);
    team.done.wait(lock, [&] { return team.busy == 0; });
    team.taken = false;
    if (failed) std::rethrow_exception(failed);
  }

 private:
  struct Team {
    std::vector<std::thread> threads;
    std::mutex mutex;
    std::condition_variable begin, done;
    const std::function<void(int64_t)> *item = nullptr;
    int64_t count = 0;
    std::atomic<int64_t> next{0}, round{0};
    std::atomic<int> busy{0};
    std::atomic<bool> taken{false};
    int wanted = 0;
    pid_t process = getpid();

    void start() {
      const int me = int(threads.size());
      threads.emplace_back([this, me, seen = round.load()]() mutable {
        for (;;) {
          look_out([&] { return round != seen; });
          std::unique_lock<std::mutex> lock(mutex);
          begin.wait(lock, [&] { return round != seen; });
          seen = round;
          if (me >= wanted) continue;
          lock.unlock();
          for (int64_t i; (i = next++) < count;) (*item)(i);
          lock.lock();
          if (--busy == 0) done.notify_one();
        }
      });
      threads.back().detach();
    }
  };

  Team *ours() {
    Team *team = team_;
    if (team && team->process == getpid()) return team;
    Team *made = new Team;  // never taken down: its threads may outlive everything
    if (team_.compare_exchange_strong(team, made)) return made;
    delete made;
    return team;
  }

  std::atomic<Team *> team_{nullptr};
};

}  // namespace tidegate
