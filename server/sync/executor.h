// Threads for work that must not hold up gRPC's or the engine's: tokenizing, detokenizing,
// serializing.
#ifndef LOCKSTEP_SERVER_SYNC_EXECUTOR_H_
#define LOCKSTEP_SERVER_SYNC_EXECUTOR_H_

#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

// Runs tasks on a fixed number of threads, started in the order in which they were posted.
// Thread-safe.
class Executor {
 public:
  using Task = absl::AnyInvocable<void()>;

  explicit Executor(int num_threads);
  // Runs what was posted, then joins. Nothing may be posted from outside of the tasks any more.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void Post(Task task);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::deque<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Runs tasks one after the other, in the order in which they were posted, on the executor's
// threads. What only a strand's tasks touch needs no lock. Thread-safe; may be destroyed while
// tasks are waiting: they still run.
class Strand {
 public:
  // The executor must outlive the last task.
  explicit Strand(Executor& executor) : state_(std::make_shared<State>(executor)) {}

  void Post(Executor::Task task);

 private:
  struct State {
    explicit State(Executor& e) : executor(e) {}
    Executor& executor;
    Mutex mutex;
    std::vector<Executor::Task> waiting ABSL_GUARDED_BY(mutex);
    bool running ABSL_GUARDED_BY(mutex) = false;
  };
  static void Run(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SYNC_EXECUTOR_H_
