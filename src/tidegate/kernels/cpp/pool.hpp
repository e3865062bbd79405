// Memory for tapes, kept from call to call: fresh pages cost more than the arithmetic that fills them.
//
// A buffer that is done with waits for the next call that wants about as much, up to LIMIT bytes in all; beyond, the
// oldest goes back to the system. Large ones ask for large pages, where Linux has them on request: a five hundredth of
// the page faults, and fewer addresses to look up.
#pragma once

#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tidegate {

class Pool {
 public:
  struct Free {
    void operator()(float *memory) const { std::free(memory); }
  };
  struct Buffer {
    std::unique_ptr<float, Free> memory;
    size_t floats = 0;
  };

  Buffer take(size_t floats) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it)
      if (it->floats >= floats && it->floats <= 2 * floats + 1024) {
        Buffer found = std::move(*it);
        held_ -= found.floats, waiting_.erase(it);
        return found;
      }
    return fresh(floats);
  }
  void give(Buffer &&buffer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    held_ += buffer.floats;
    waiting_.push_back(std::move(buffer));
    while (held_ > LIMIT / sizeof(float)) held_ -= waiting_.front().floats, waiting_.pop_front();
  }

 private:
#if defined(TIDEGATE_SANITIZE)  // memory that is as long as it should be, and freed at once, is memory that can be watched
  static constexpr size_t LIMIT = 0;
#else
  static constexpr size_t LIMIT = 512 << 20;
#endif
  static constexpr size_t PAGE = 2 << 20;

  static Buffer fresh(size_t floats) {
    const size_t align = floats * sizeof(float) < 2 * PAGE ? 64 : PAGE;
    const size_t bytes = (floats * sizeof(float) + align - 1) / align * align;
    auto *memory = static_cast<float *>(std::aligned_alloc(align, bytes ? bytes : align));
    Buffer made{std::unique_ptr<float, Free>(memory), floats};
    if (!made.memory) throw std::bad_alloc();
#if defined(__linux__)
    if (align == PAGE) madvise(made.memory.get(), bytes, MADV_HUGEPAGE);
#endif
    return made;
  }

  std::mutex mutex_;
  std::deque<Buffer> waiting_;
  size_t held_ = 0;  // floats
};

}  // namespace tidegate
