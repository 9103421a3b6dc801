#ifndef LOCKSTEP_TESTS_UNIT_SERVER_RPC_END_RECEIVER_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_RPC_END_RECEIVER_H_

#include <optional>
#include <utility>

#include "process/monotonic_time.h"
#include "server/rpc/generation.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

// Waits for the end of one generation.
class EndReceiver final : public AnswerReceiver {
 public:
  void OnStarted(v1::Started) override {}
  void OnDelta(v1::Delta) override {}
  void OnFinished(v1::Finished finished) override {
    MutexLock lock(mutex_);
    finished_ = std::move(finished);
  }
  void OnEnd() override { End(absl::OkStatus()); }
  void OnFailed(const absl::Status& status) override { End(status); }

  absl::Status WaitForEnd() {
    const absl::Time give_up = MonotonicNow() + absl::Seconds(60);
    MutexLock lock(mutex_);
    while (!end_.has_value() && MonotonicNow() < give_up) ended_.WaitFor(mutex_, absl::Seconds(1));
    return end_.value_or(absl::UnknownError("there was no end"));
  }
  v1::Finished finished() {
    MutexLock lock(mutex_);
    return finished_;
  }

 private:
  void End(absl::Status status) {
    MutexLock lock(mutex_);
    end_ = std::move(status);
    ended_.NotifyAll();
  }

  Mutex mutex_;
  CondVar ended_;
  v1::Finished finished_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_RPC_END_RECEIVER_H_
