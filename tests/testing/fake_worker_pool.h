// A pool of workers without processes: one FakeWorker, run by the test or by a thread.
#ifndef LOCKSTEP_TESTS_TESTING_FAKE_WORKER_POOL_H_
#define LOCKSTEP_TESTS_TESTING_FAKE_WORKER_POOL_H_

#include <cstdint>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/sync/mutex.h"
#include "server/worker_pool/worker_pool.h"
#include "tests/testing/fake_worker.h"

namespace lockstep::testing {

// Thread-safe. The listener must outlive the pool. A plan that breaks a promise of
// control_link.proto fails the pool with INTERNAL, naming it.
class FakeWorkerPool : public server::WorkerPool {
 public:
  enum class Mode {
    kManual,    // steps run in RunStep()
    kThreaded,  // steps run on a thread of the pool's own, each for `step_time`
  };

  FakeWorkerPool(server::WorkerPoolListener& listener, FakeWorkerOptions options, Mode mode,
                 absl::Duration step_time = absl::ZeroDuration());
  ~FakeWorkerPool() override;

  // Reports the pool as ready.
  void Ready();
  // Reports it as failed; nothing follows.
  void Fail(const absl::Status& status);

  // Runs the oldest step and reports its result. False if there is none, or its masks are not
  // there.
  bool RunStep();
  // As RunStep(), but waits for a step to be submitted. False after `timeout` without one.
  bool WaitAndRunStep(absl::Duration timeout = absl::Seconds(60));

  // All plans so far.
  std::vector<worker::v1::StepPlan> plans() const;
  // The first broken promise, or OK.
  absl::Status violation() const;

  void Submit(const worker::v1::StepPlan& plan) override;
  void SubmitMasks(const worker::v1::TokenMasks& masks) override;
  std::vector<v1::RankInfo> Ranks() const override;
  v1::PoolState State() const override;

 private:
  void RunOnThread();
  void RunStepLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Called with mutex_ held, so that nothing follows OnFailed: it must not call back.
  server::WorkerPoolListener& listener_;
  const FakeWorkerOptions options_;
  const absl::Duration step_time_;

  mutable server::Mutex mutex_;
  server::CondVar changed_;
  FakeWorker worker_ ABSL_GUARDED_BY(mutex_);
  std::vector<worker::v1::StepPlan> plans_ ABSL_GUARDED_BY(mutex_);
  absl::Status violation_ ABSL_GUARDED_BY(mutex_);
  v1::PoolState state_ ABSL_GUARDED_BY(mutex_) = v1::POOL_STATE_LOADING;
  uint64_t last_step_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_FAKE_WORKER_POOL_H_
