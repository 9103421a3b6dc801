// A sink that keeps what it is told, for a test to wait for.
#ifndef LOCKSTEP_TESTS_TESTING_RECORDING_SINK_H_
#define LOCKSTEP_TESTS_TESTING_RECORDING_SINK_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/engine/output_sink.h"
#include "server/sync/mutex.h"

namespace lockstep::testing {

// Thread-safe.
class RecordingSink : public server::OutputSink {
 public:
  void OnScheduled(int32_t) override {
    server::MutexLock lock(mutex_);
    ++num_scheduled_;
    changed_.NotifyAll();
  }
  void OnToken(const server::TokenEvent& event) override {
    server::MutexLock lock(mutex_);
    tokens_.push_back(static_cast<int32_t>(event.token.token_id()));
    changed_.NotifyAll();
  }
  void OnLogits(server::SlotLogits logits) override {
    server::MutexLock lock(mutex_);
    logits_.push_back(std::move(logits));
  }
  void OnComplete(const server::Completion& completion) override {
    server::MutexLock lock(mutex_);
    ++num_completions_;
    completion_ = completion;
    changed_.NotifyAll();
  }

  // Waits for the end. Nothing if it does not come within `timeout`.
  std::optional<server::Completion> WaitForCompletion(absl::Duration timeout = absl::Seconds(60)) {
    const absl::Time end = absl::Now() + timeout;
    server::MutexLock lock(mutex_);
    while (num_completions_ == 0 && absl::Now() < end) changed_.WaitFor(mutex_, end - absl::Now());
    return completion_;
  }
  // Waits for `num_tokens` tokens. False if they do not come within `timeout`.
  bool WaitForTokens(size_t num_tokens, absl::Duration timeout = absl::Seconds(60)) {
    const absl::Time end = absl::Now() + timeout;
    server::MutexLock lock(mutex_);
    while (tokens_.size() < num_tokens && absl::Now() < end) {
      changed_.WaitFor(mutex_, end - absl::Now());
    }
    return tokens_.size() >= num_tokens;
  }

  std::vector<int32_t> tokens() const {
    server::MutexLock lock(mutex_);
    return tokens_;
  }
  std::vector<server::SlotLogits> logits() const {
    server::MutexLock lock(mutex_);
    return logits_;
  }
  int num_scheduled() const {
    server::MutexLock lock(mutex_);
    return num_scheduled_;
  }
  int num_completions() const {
    server::MutexLock lock(mutex_);
    return num_completions_;
  }

 private:
  mutable server::Mutex mutex_;
  server::CondVar changed_;
  int num_scheduled_ ABSL_GUARDED_BY(mutex_) = 0;
  int num_completions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<int32_t> tokens_ ABSL_GUARDED_BY(mutex_);
  std::vector<server::SlotLogits> logits_ ABSL_GUARDED_BY(mutex_);
  std::optional<server::Completion> completion_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_RECORDING_SINK_H_
