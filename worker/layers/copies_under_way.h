#ifndef LOCKSTEP_WORKER_LAYERS_COPIES_UNDER_WAY_H_
#define LOCKSTEP_WORKER_LAYERS_COPIES_UNDER_WAY_H_

#include <cstddef>
#include <deque>
#include <utility>

namespace lockstep::worker {

// Keeps the host from running away from the copies that it enqueues: LibTorch gives page-locked
// memory out again only when the copy from it has ended, and locks more as long as none has.
//
// An Event is c10::Event, or what a test has instead: synchronize() returns when the device has
// come to it.
template <typename Event>
class CopiesUnderWay {
 public:
  static constexpr size_t kMax = 4;

  // `end`: behind a copy that has been enqueued. Returns when all copies but the last kMax are
  // done.
  void Add(Event end) {
    ends_.push_back(std::move(end));
    if (ends_.size() <= kMax) return;
    ends_.front().synchronize();
    ends_.pop_front();
  }

 private:
  std::deque<Event> ends_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LAYERS_COPIES_UNDER_WAY_H_
