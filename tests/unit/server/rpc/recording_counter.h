#ifndef LOCKSTEP_TESTS_UNIT_SERVER_RPC_RECORDING_COUNTER_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_RPC_RECORDING_COUNTER_H_

#include <map>

#include "server/rpc/request_counter.h"
#include "server/sync/mutex.h"

namespace lockstep::server {

class RecordingCounter final : public RequestCounter {
 public:
  void CountSuccess(v1::FinishReason reason) override {
    MutexLock lock(mutex_);
    ++successes_[reason];
  }
  void CountFailure(absl::StatusCode code) override {
    MutexLock lock(mutex_);
    ++failures_[code];
  }

  std::map<v1::FinishReason, int> successes() const {
    MutexLock lock(mutex_);
    return successes_;
  }
  std::map<absl::StatusCode, int> failures() const {
    MutexLock lock(mutex_);
    return failures_;
  }

 private:
  mutable Mutex mutex_;
  std::map<v1::FinishReason, int> successes_ ABSL_GUARDED_BY(mutex_);
  std::map<absl::StatusCode, int> failures_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_RPC_RECORDING_COUNTER_H_
