// One thread that sees workers end, passes on what they print, and keeps the pool's deadlines.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_PROCESS_WATCH_H_
#define LOCKSTEP_SERVER_WORKER_POOL_PROCESS_WATCH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "server/net/file_descriptor.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/output_tag.h"
#include "server/worker_pool/worker_process.h"

namespace lockstep::server {

// Called on the watch's thread; must not block.
class ProcessWatchListener {
 public:
  virtual ~ProcessWatchListener() = default;
  // Once for each process: "exited with status 1: <its last line>", "was killed by signal 9
  // (Killed)".
  virtual void OnProcessEnded(uint32_t rank, const std::string& how) = 0;
  // Returns when it wants to be called again, at the latest; may be called at any time.
  virtual absl::Time OnWatchTime() = 0;
};

// All times are MonotonicNow's.
class ProcessWatch {
 public:
  // `listener` outlives this. At most `longest_wait` passes between two calls of OnWatchTime.
  ProcessWatch(ProcessWatchListener& listener, absl::Duration longest_wait);
  // Kills and reaps what is left.
  ~ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;

  // Starts the thread. processes[rank]; may be empty.
  void Run(std::vector<std::unique_ptr<WorkerProcess>> processes);

  // Makes the thread call OnWatchTime now. From any thread.
  void Wake();
  // SIGTERM and SIGKILL to those that are still there at these times; an earlier time replaces a
  // later one.
  void EndAll(absl::Time terminate_at, absl::Time kill_at);
  // False if some process is still there at the deadline.
  bool WaitUntilAllEnded(absl::Time deadline);

 private:
  struct Watched {
    std::unique_ptr<WorkerProcess> process;
    OutputTag output;
    bool was_terminated = false;
    bool was_killed = false;
  };

  void Loop();
  void Poll(absl::Time until);
  void CheckOutput();
  void CheckEnds();
  void SendSignals(absl::Time now);
  absl::Time NextSignal() const;

  ProcessWatchListener& listener_;
  const absl::Duration longest_wait_;
  FileDescriptor wake_fd_;

  std::vector<Watched> watched_;  // the thread's own once it runs

  mutable Mutex mutex_;
  CondVar changed_;
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  size_t num_running_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time terminate_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  absl::Time kill_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();

  std::thread thread_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_PROCESS_WATCH_H_
