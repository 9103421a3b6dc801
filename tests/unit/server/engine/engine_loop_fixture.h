#ifndef LOCKSTEP_TESTS_UNIT_SERVER_ENGINE_ENGINE_LOOP_FIXTURE_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_ENGINE_ENGINE_LOOP_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/engine/engine_loop.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/fake_worker_pool.h"
#include "tests/testing/recording_sink.h"

namespace lockstep::server {

using testing::FakeWorkerPool;
using testing::RecordingSink;

struct Seen {
  Mutex mutex;
  int num_steps ABSL_GUARDED_BY(mutex) = 0;
  // What OnToken was given.
  std::vector<absl::Duration> first_tokens ABSL_GUARDED_BY(mutex);
  std::vector<absl::Duration> later_tokens ABSL_GUARDED_BY(mutex);
  std::vector<std::pair<std::string, absl::StatusCode>> done ABSL_GUARDED_BY(mutex);
  std::vector<absl::Duration> freed_after ABSL_GUARDED_BY(mutex);
  std::vector<std::string> preempted ABSL_GUARDED_BY(mutex);
};

class RecordingObserver : public EngineObserver {
 public:
  explicit RecordingObserver(Seen& seen) : seen_(seen) {}
  void OnStepDone(const StepSummary&) override {
    MutexLock lock(seen_.mutex);
    ++seen_.num_steps;
  }
  void OnToken(bool first, absl::Duration elapsed) override {
    MutexLock lock(seen_.mutex);
    (first ? seen_.first_tokens : seen_.later_tokens).push_back(elapsed);
  }
  void OnRequestDone(const EngineRequest& request, const Completion& completion,
                     absl::Time) override {
    MutexLock lock(seen_.mutex);
    seen_.done.emplace_back(request.id, completion.status.code());
  }
  void OnCancelFreed(absl::Duration elapsed) override {
    MutexLock lock(seen_.mutex);
    seen_.freed_after.push_back(elapsed);
  }
  void OnPreempted(const std::string& request_id, int32_t) override {
    MutexLock lock(seen_.mutex);
    seen_.preempted.push_back(request_id);
  }

 private:
  Seen& seen_;
};

inline RequestHandle SubmitOne(Engine& engine, std::unique_ptr<const EngineRequest> request,
                               std::shared_ptr<OutputSink> sink) {
  std::vector<Submission> batch;
  batch.push_back({std::move(request), std::move(sink)});
  return engine.SubmitBatch(std::move(batch)).front();
}

// An engine over a fake pool, with a clock that the test moves.
class EngineLoopTest : public ::testing::Test {
 protected:
  static constexpr int32_t kVocabSize = 64;

  void StartEngine(FakeWorkerPool::Mode mode, uint32_t num_blocks = 64) {
    EngineOptions options;
    options.scheduler.max_model_len = std::min(128, static_cast<int32_t>(num_blocks) * 4);
    options.scheduler.max_num_seqs = 8;
    options.scheduler.vocab_size = kVocabSize;
    options.scheduler.max_num_batched_tokens = 32;
    options.scheduler.block_size = 4;
    options.scheduler.max_queued_requests = 4;
    options.clock = [this] { return absl::FromUnixMillis(now_ms_.load()); };
    options.observer = &observer_;
    options.on_failed = [this](const absl::Status& status) {
      MutexLock lock(failure_mutex_);
      failure_ = status;
    };
    testing::FakeWorkerOptions worker;
    worker.num_kv_blocks = num_blocks;
    worker.block_size = 4;
    worker.max_num_seqs = 8;
    worker.max_num_batched_tokens = 32;
    worker.max_model_len = static_cast<uint32_t>(options.scheduler.max_model_len);
    worker.vocab_size = kVocabSize;
    engine_ = std::make_unique<EngineLoop>(options);
    pool_ = std::make_unique<FakeWorkerPool>(*engine_, worker, mode);
    engine_->Start(*pool_);
  }

  void TearDown() override {
    if (engine_ == nullptr) return;
    engine_->Stop();
    EXPECT_TRUE(pool_->violation().ok()) << pool_->violation();
    pool_.reset();
  }

  std::unique_ptr<EngineRequest> MakeRequest(const std::string& id, int32_t num_prompt_tokens = 5,
                                             int32_t max_new_tokens = 6) {
    auto request = std::make_unique<EngineRequest>();
    request->id = id;
    for (int32_t i = 0; i < num_prompt_tokens; ++i) {
      request->prompt.push_back((i * 7 + static_cast<int32_t>(id.back())) % kVocabSize);
    }
    request->max_new_tokens = max_new_tokens;
    request->sampling.set_num_prompt_tokens(static_cast<uint32_t>(num_prompt_tokens));
    request->arrival = absl::FromUnixMillis(now_ms_.load());
    return request;
  }

  std::shared_ptr<RecordingSink> Submit(std::unique_ptr<EngineRequest> request) {
    auto sink = std::make_shared<RecordingSink>();
    last_handle_ = SubmitOne(*engine_, std::move(request), sink);
    return sink;
  }

  // Runs steps until the request has ended.
  bool RunUntilComplete(const std::shared_ptr<RecordingSink>& sink) {
    for (int i = 0; i < 1000 && sink->num_completions() == 0; ++i) {
      pool_->WaitAndRunStep(absl::Milliseconds(10));
    }
    return sink->num_completions() == 1;
  }

  // Whatever the engine had in its inbox has been taken and delivered: what is too late is refused
  // when it is taken, and the second one is taken after the first one's turn.
  void Settle() {
    for (const char* id : {"u", "v"}) {
      std::unique_ptr<EngineRequest> late = MakeRequest(id);
      late->deadline = late->arrival;
      EXPECT_EQ(Code(Submit(std::move(late))), absl::StatusCode::kDeadlineExceeded);
    }
  }

  // Any command wakes the engine, so that it looks at the clock again.
  void AdvanceClock(int64_t milliseconds) {
    now_ms_ += milliseconds;
    engine_->Finish(0, v1::ABORTED, absl::OkStatus(), absl::FromUnixMillis(now_ms_.load()));
  }

  static absl::StatusCode Code(const std::shared_ptr<RecordingSink>& sink) {
    const std::optional<Completion> completion = sink->WaitForCompletion();
    EXPECT_TRUE(completion.has_value()) << "the request never completed";
    return completion.has_value() ? completion->status.code() : absl::StatusCode::kUnknown;
  }

  std::vector<int32_t> AnswerAlone(const EngineRequest& request) {
    std::vector<int32_t> tokens = request.prompt;
    for (int32_t i = 0; i < request.max_new_tokens; ++i) {
      tokens.push_back(testing::FakeNextToken(tokens, request.sampling, kVocabSize));
    }
    return {tokens.begin() + static_cast<ptrdiff_t>(request.prompt.size()), tokens.end()};
  }

  std::atomic<int64_t> now_ms_ = 1000;
  Seen seen_;
  RecordingObserver observer_{seen_};
  Mutex failure_mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(failure_mutex_);
  std::unique_ptr<EngineLoop> engine_;
  std::unique_ptr<FakeWorkerPool> pool_;
  RequestHandle last_handle_ = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_ENGINE_ENGINE_LOOP_FIXTURE_H_
