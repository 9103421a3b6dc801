// Mutex, scoped lock and condition variable over the standard library's, annotated for Clang's
// thread-safety analysis. Not absl::Mutex: ThreadSanitizer does not see the order that an
// uninstrumented Abseil makes, and reports races on everything that it guards.
#ifndef LOCKSTEP_SERVER_SYNC_MUTEX_H_
#define LOCKSTEP_SERVER_SYNC_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace lockstep::server {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Wake-ups may be spurious: wait in a loop over the condition.
class CondVar {
 public:
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

  // Waits for at most `timeout` of real time; InfiniteDuration waits for a notification alone.
  // False: timed out.
  bool WaitFor(Mutex& mutex, absl::Duration timeout) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    bool notified = true;
    // A year stands for infinity: adding the largest duration to the clock's reading would
    // overflow.
    if (timeout > absl::Hours(24 * 365)) {
      condition_.wait(lock);
    } else {
      notified = condition_.wait_for(lock, absl::ToChronoNanoseconds(timeout)) ==
                 std::cv_status::no_timeout;
    }
    lock.release();
    return notified;
  }

 private:
  std::condition_variable condition_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SYNC_MUTEX_H_
