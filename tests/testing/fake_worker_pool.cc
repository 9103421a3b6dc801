#include "tests/testing/fake_worker_pool.h"

#include <utility>

#include "tests/testing/whole_result.h"

namespace lockstep::testing {

using server::MutexLock;

FakeWorkerPool::FakeWorkerPool(server::WorkerPoolListener& listener, FakeWorkerOptions options,
                               Mode mode, absl::Duration step_time)
    : listener_(listener), options_(options), step_time_(step_time), worker_(std::move(options)) {
  if (mode == Mode::kThreaded) thread_ = std::thread([this] { RunOnThread(); });
}

FakeWorkerPool::~FakeWorkerPool() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void FakeWorkerPool::Ready() {
  MutexLock lock(mutex_);
  if (state_ != v1::POOL_STATE_LOADING) return;
  state_ = v1::POOL_STATE_READY;
  listener_.OnReady({options_.num_kv_blocks});
}

void FakeWorkerPool::Fail(const absl::Status& status) {
  MutexLock lock(mutex_);
  FailLocked(status);
}

void FakeWorkerPool::FailLocked(const absl::Status& status) {
  if (state_ == v1::POOL_STATE_FAILED) return;
  state_ = v1::POOL_STATE_FAILED;
  listener_.OnFailed(status);
}

void FakeWorkerPool::Submit(const worker::v1::StepPlan& plan) {
  MutexLock lock(mutex_);
  if (state_ == v1::POOL_STATE_FAILED) return;
  plans_.push_back(plan);
  absl::Status status = state_ == v1::POOL_STATE_READY
                            ? worker_.Accept(plan)
                            : absl::InternalError("a step before the pool is ready");
  if (!status.ok()) {
    violation_.Update(status);
    FailLocked(status);
  }
  changed_.NotifyAll();
}

void FakeWorkerPool::SubmitMasks(const worker::v1::TokenMasks& masks) {
  MutexLock lock(mutex_);
  if (state_ == v1::POOL_STATE_FAILED) return;
  absl::Status status = worker_.Accept(masks);
  if (!status.ok()) {
    violation_.Update(status);
    FailLocked(status);
  }
  changed_.NotifyAll();
}

bool FakeWorkerPool::RunStep() { return WaitAndRunStep(absl::ZeroDuration()); }

bool FakeWorkerPool::WaitAndRunStep(absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  MutexLock lock(mutex_);
  while (!worker_.CanRun() && state_ != v1::POOL_STATE_FAILED) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    changed_.WaitFor(mutex_, left);
  }
  if (state_ == v1::POOL_STATE_FAILED) return false;
  RunStepLocked();
  return true;
}

void FakeWorkerPool::RunStepLocked() {
  absl::StatusOr<worker::v1::StepResult> result = worker_.Run();
  if (!result.ok()) {
    violation_.Update(result.status());
    FailLocked(result.status());
    return;
  }
  last_step_ = result->step();
  listener_.OnStepResult(WholeResult(*std::move(result)));
}

void FakeWorkerPool::RunOnThread() {
  MutexLock lock(mutex_);
  while (!stopping_) {
    if (!worker_.CanRun() || state_ == v1::POOL_STATE_FAILED) {
      changed_.WaitFor(mutex_, absl::InfiniteDuration());
      continue;
    }
    const absl::Time end = absl::Now() + step_time_;
    while (!stopping_ && absl::Now() < end) changed_.WaitFor(mutex_, end - absl::Now());
    if (!stopping_ && state_ != v1::POOL_STATE_FAILED) RunStepLocked();
  }
}

std::vector<worker::v1::StepPlan> FakeWorkerPool::plans() const {
  MutexLock lock(mutex_);
  return plans_;
}

absl::Status FakeWorkerPool::violation() const {
  MutexLock lock(mutex_);
  return violation_;
}

std::vector<v1::RankInfo> FakeWorkerPool::Ranks() const {
  MutexLock lock(mutex_);
  v1::RankInfo rank;
  rank.set_rank(0);
  rank.set_state(state_);
  rank.set_last_step(last_step_);
  rank.set_device("fake");
  return {rank};
}

v1::PoolState FakeWorkerPool::State() const {
  MutexLock lock(mutex_);
  return state_;
}

}  // namespace lockstep::testing
