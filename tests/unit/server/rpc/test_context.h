// What calls need, over an engine that only keeps what it is given.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_RPC_TEST_CONTEXT_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_RPC_TEST_CONTEXT_H_

#include <memory>
#include <utility>
#include <vector>

#include "process/monotonic_time.h"
#include "server/rpc/service_context.h"
#include "server/sync/mutex.h"
#include "tests/unit/server/admission/byte_text_model.h"
#include "tests/unit/server/metrics/idle_engine.h"
#include "tests/unit/server/rpc/recording_counter.h"

namespace lockstep::server {

// The test speaks to the sinks instead of it.
class KeepingEngine final : public IdleEngine {
 public:
  std::vector<RequestHandle> SubmitBatch(std::vector<Submission> batch) override {
    MutexLock lock(mutex_);
    std::vector<RequestHandle> handles;
    for (Submission& submission : batch) {
      kept_.push_back(std::move(submission.sink));
      handles.push_back(kept_.size());
    }
    changed_.NotifyAll();
    return handles;
  }

  void Finish(RequestHandle, v1::FinishReason, absl::Status status, absl::Time) override {
    MutexLock lock(mutex_);
    finished_.push_back(std::move(status));
  }

  // What Finish was given, in order.
  std::vector<absl::Status> finished() {
    MutexLock lock(mutex_);
    return finished_;
  }

  // Waits for `count` requests, and gives their sinks away; fewer if that takes too long.
  std::vector<std::shared_ptr<OutputSink>> TakeSinks(size_t count) {
    const absl::Time give_up = MonotonicNow() + absl::Seconds(60);
    MutexLock lock(mutex_);
    while (kept_.size() < count && MonotonicNow() < give_up) {
      changed_.WaitFor(mutex_, absl::Seconds(1));
    }
    return std::exchange(kept_, {});
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<OutputSink>> kept_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Status> finished_ ABSL_GUARDED_BY(mutex_);
};

class TestContext {
 public:
  static constexpr uint64_t kMaxRequestBytes = 1 << 20;

  KeepingEngine& engine() { return engine_; }
  RecordingCounter& counter() { return counter_; }
  const TextModel& text() const { return *text_; }
  ServiceContext& operator*() { return context_; }
  ServiceContext* operator->() { return &context_; }

 private:
  KeepingEngine engine_;
  RecordingCounter counter_;
  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
  const ServedModel model_{"bytes", kByteVocabSize, 64, {0, 0, 1, 0, 1, 1, {kByteEos}, {}}};
  Admission admission_{model_, *text_, 8};
  Executor delivery_{1};
  GuideLibrary guides_{*text_, kByteVocabSize, {kByteEos}};
  Intake intake_{1};
  ServiceContext context_{engine_,   *text_,  admission_, intake_,
                          delivery_, guides_, counter_,   ByteBudget(kMaxRequestBytes)};
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_RPC_TEST_CONTEXT_H_
