#ifndef LOCKSTEP_WORKER_DEVICE_STREAM_MARK_H_
#define LOCKSTEP_WORKER_DEVICE_STREAM_MARK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace lockstep::worker {

// A place in a device's work, which the device reaches when it has done everything before it.
// Thread-safe.
class StreamMark {
 public:
  void SetReached() {
    const absl::MutexLock lock(&mutex_);
    is_reached_ = true;
  }

  // Whether the device has come to the place, which is waited for as long as `timeout`.
  bool Await(absl::Duration timeout) {
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&is_reached_), timeout);
  }

 private:
  absl::Mutex mutex_;
  bool is_reached_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_DEVICE_STREAM_MARK_H_
