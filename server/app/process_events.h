// What the main thread waits for: signals, and what becomes of the pool.
#ifndef LOCKSTEP_SERVER_APP_PROCESS_EVENTS_H_
#define LOCKSTEP_SERVER_APP_PROCESS_EVENTS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/net/file_descriptor.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

enum class ProcessEvent { kPoolReady, kPoolFailed, kSignal, kTimeout };

class ProcessEvents {
 public:
  // Takes SIGTERM and SIGINT over from here on: construct before any other thread runs.
  ProcessEvents();

  // From any thread, each at most once.
  void SetPoolReady();
  void SetPoolFailed(const absl::Status& status);

  // The next event, each of the pool's once and a failure first; kTimeout after `timeout`. One
  // thread waits.
  ProcessEvent Wait(absl::Duration timeout);

  // After kPoolFailed.
  absl::Status pool_failure() const;
  // After kSignal.
  int signal() const { return signal_; }

 private:
  void Wake();
  bool TakeReady();
  bool TakeFailed();

  const FileDescriptor signal_fd_;
  const FileDescriptor wake_fd_;
  int signal_ = 0;

  mutable Mutex mutex_;
  bool is_ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_failed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_PROCESS_EVENTS_H_
