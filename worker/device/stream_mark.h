#ifndef LOCKSTEP_WORKER_DEVICE_STREAM_MARK_H_
#define LOCKSTEP_WORKER_DEVICE_STREAM_MARK_H_

#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace lockstep::worker {

// A place in a device's work, which the device reaches when it has done everything before it.
// Thread-safe.
class StreamMark {
 public:
  void SetReached() {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_reached_ = true;
    reached_.notify_all();
  }

  // Whether the device has come to the place, which is waited for as long as `timeout`.
  bool Await(absl::Duration timeout) {
    std::unique_lock<std::mutex> lock(mutex_);
    return reached_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                             [this] { return is_reached_; });
  }

 private:
  // Not absl's, whose waits end by the wall clock.
  std::mutex mutex_;
  std::condition_variable reached_;
  bool is_reached_ = false;  // under mutex_
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_STREAM_MARK_H_
