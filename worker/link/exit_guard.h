// Sees to it that a worker ends when it should, whatever its other threads are doing.
#ifndef LOCKSTEP_WORKER_LINK_EXIT_GUARD_H_
#define LOCKSTEP_WORKER_LINK_EXIT_GUARD_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "worker/link/exit_code.h"

namespace lockstep::worker {

// One thread that waits for SIGTERM, SIGINT and the end of the frontend's process. The parent's
// death signal (PR_SET_PDEATHSIG) is not used: it fires when the thread that forked ends, and is
// lost where the parent was gone already.
//
// A worker that a frontend has started obeys the frontend's signals alone. Who stops a service may
// signal all of its processes (systemd does): the frontend then lets its streams finish, for which
// it needs its workers.
class ExitGuard {
 public:
  // From then on until the process has ended by itself; after that it is ended with _exit.
  static constexpr std::chrono::milliseconds kPatience{1000};

  // Blocks the two signals for this thread and those that it starts from now on: construct before
  // any other thread runs. `death_fd`: a pipe whose end means the frontend's; -1: none.
  explicit ExitGuard(int death_fd);
  ~ExitGuard();
  ExitGuard(const ExitGuard&) = delete;
  ExitGuard& operator=(const ExitGuard&) = delete;

  // Starts the thread. `on_end` is called on it, at most once, before the patience begins.
  void Run(std::function<void(ExitCode)> on_end);

  // The process is about to end with this code: begins the patience. The first call counts.
  // Thread-safe.
  void ExitSoon(ExitCode code);

 private:
  void Loop(const std::function<void(ExitCode)>& on_end);
  // Returns once a signal, the frontend's end, ExitSoon or the destructor has something to say.
  ExitCode WaitForEnd();
  // Whether the signal that has come is to be obeyed.
  bool TakeSignal();
  void Wake();

  static constexpr int kNone = -1;

  const int death_fd_;
  const int signal_fd_;
  const int wake_fd_;
  std::atomic<int> code_ = kNone;
  std::atomic<bool> is_done_ = false;
  std::thread thread_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_EXIT_GUARD_H_
