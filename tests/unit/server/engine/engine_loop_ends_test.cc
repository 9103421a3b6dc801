// Deadlines, cancellation, failures, draining and stopping.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/engine/engine_loop_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(EngineLoopTest, ADeadlineEndsARequestThatWaitsForThePool) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  auto request = MakeRequest("late");
  request->deadline = absl::FromUnixMillis(now_ms_ + 500);
  const auto sink = Submit(std::move(request));
  AdvanceClock(499);
  EXPECT_EQ(sink->num_completions(), 0);
  AdvanceClock(1);
  EXPECT_EQ(Code(sink), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EngineLoopTest, TheEngineWakesForADeadlineByItself) {
  EngineOptions options;
  EngineLoop engine(options);
  FakeWorkerPool pool(engine, {}, FakeWorkerPool::Mode::kManual);
  engine.Start(pool);
  auto request = MakeRequest("a");
  request->deadline = MonotonicNow() + absl::Milliseconds(20);
  auto sink = std::make_shared<RecordingSink>();
  SubmitOne(engine, std::move(request), sink);
  EXPECT_EQ(Code(sink), absl::StatusCode::kDeadlineExceeded);
  engine.Stop();
}

// How many steps a request has behind it when it is cancelled; -1: the pool is not ready.
class EngineCancellation : public EngineLoopTest, public ::testing::WithParamInterface<int> {};

TEST_P(EngineCancellation, FreesSlotAndBlocks) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  if (GetParam() >= 0) pool_->Ready();
  const auto sink = Submit(MakeRequest("cancelled", 60, 20));
  for (int i = 0; i < GetParam(); ++i) ASSERT_TRUE(pool_->WaitAndRunStep());
  engine_->Finish(last_handle_, v1::FINISH_REASON_UNSPECIFIED,
                  absl::CancelledError("the client went away"),
                  absl::FromUnixMillis(now_ms_.load()));
  EXPECT_EQ(Code(sink), absl::StatusCode::kCancelled);
  const size_t num_tokens = sink->tokens().size();
  while (pool_->RunStep()) {
  }
  // Whatever the engine had in its inbox before this request is done when it completes.
  const auto after = Submit(MakeRequest("after", 5, 1));
  if (GetParam() < 0) pool_->Ready();
  ASSERT_TRUE(RunUntilComplete(after));
  EXPECT_EQ(engine_->Snapshot().kv_blocks_used, 0);
  EXPECT_EQ(engine_->Snapshot().num_running, 0);
  EXPECT_EQ(sink->tokens().size(), num_tokens);
  EXPECT_EQ(sink->num_completions(), 1);
  engine_->Stop();
  MutexLock lock(seen_.mutex);
  EXPECT_EQ(seen_.freed_after, std::vector<absl::Duration>{absl::ZeroDuration()});
}

INSTANTIATE_TEST_SUITE_P(NumSteps, EngineCancellation, ::testing::Values(-1, 0, 1, 2, 5));

TEST_F(EngineLoopTest, ACancelledRequestIsFreeWhenTheLastOfItsStepsIsDone) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto sink = Submit(MakeRequest("cancelled", 60, 20));
  const RequestHandle handle = last_handle_;
  ASSERT_TRUE(pool_->WaitAndRunStep());
  Settle();  // two more steps are in flight
  engine_->Finish(handle, v1::ABORTED, absl::OkStatus(), absl::FromUnixMillis(now_ms_.load()));
  EXPECT_EQ(sink->WaitForCompletion()->reason, v1::ABORTED);
  for (int i = 0; i < 2; ++i) {
    Settle();
    {
      MutexLock lock(seen_.mutex);
      EXPECT_THAT(seen_.freed_after, IsEmpty()) << i;
    }
    now_ms_ += 5;
    ASSERT_TRUE(pool_->RunStep());
  }
  Settle();
  EXPECT_FALSE(pool_->RunStep());
  EXPECT_EQ(engine_->Snapshot().kv_blocks_used, 0);
  MutexLock lock(seen_.mutex);
  EXPECT_THAT(seen_.freed_after, ElementsAre(absl::Milliseconds(10)));
}

TEST_F(EngineLoopTest, AnAnswerThatIsStoppedIsNotCancelled) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto sink = Submit(MakeRequest("stopped", 5, 20));
  ASSERT_TRUE(pool_->WaitAndRunStep());
  engine_->Finish(last_handle_, v1::STOP_STRING, absl::OkStatus(),
                  absl::FromUnixMillis(now_ms_.load()));
  EXPECT_EQ(sink->WaitForCompletion()->reason, v1::STOP_STRING);
  while (pool_->RunStep()) {
  }
  Settle();
  MutexLock lock(seen_.mutex);
  EXPECT_THAT(seen_.freed_after, IsEmpty());
}

TEST_F(EngineLoopTest, ARequestThatFailsWithAnotherIsNotCancelled) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto sink = Submit(MakeRequest("sibling", 5, 20));
  ASSERT_TRUE(pool_->WaitAndRunStep());
  engine_->Finish(last_handle_, v1::FINISH_REASON_UNSPECIFIED,
                  absl::DeadlineExceededError("of the one that failed"),
                  absl::FromUnixMillis(now_ms_.load()));
  EXPECT_EQ(Code(sink), absl::StatusCode::kDeadlineExceeded);
  while (pool_->RunStep()) {
  }
  Settle();
  MutexLock lock(seen_.mutex);
  EXPECT_THAT(seen_.freed_after, IsEmpty());
}

TEST_F(EngineLoopTest, AFailedPoolEndsEveryRequestWithUnavailableAndTheReason) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto running = Submit(MakeRequest("running"));
  ASSERT_TRUE(pool_->WaitAndRunStep());
  const auto waiting = Submit(MakeRequest("waiting"));
  pool_->Fail(absl::InternalError("rank 1 was killed by signal 9"));
  for (const auto& sink : {running, waiting, Submit(MakeRequest("later"))}) {
    EXPECT_EQ(Code(sink), absl::StatusCode::kUnavailable);
    EXPECT_THAT(sink->WaitForCompletion()->status.message(),
                HasSubstr("rank 1 was killed by signal 9"));
    EXPECT_EQ(sink->num_completions(), 1);
  }
  engine_->Stop();
  MutexLock lock(failure_mutex_);
  EXPECT_EQ(failure_.message(), "rank 1 was killed by signal 9");
}

TEST_F(EngineLoopTest, APoolThatFailsBeforeItIsReadyEndsTheRequestsThatWait) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  const auto sink = Submit(MakeRequest("a"));
  pool_->Fail(absl::InternalError("rank 0: out of memory"));
  EXPECT_EQ(Code(sink), absl::StatusCode::kUnavailable);
}

TEST_F(EngineLoopTest, AKvCacheOfLessThanAContextFailsTheEngine) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  const auto sink = Submit(MakeRequest("a"));
  engine_->OnReady({.num_kv_blocks = 31});
  EXPECT_EQ(Code(sink), absl::StatusCode::kUnavailable);
  EXPECT_THAT(sink->WaitForCompletion()->status.message(),
              HasSubstr("31 blocks of 4 tokens, less than one sequence of --max-model-len 128"));
}

TEST_F(EngineLoopTest, AResultThatNoStepAskedForFailsTheEngine) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto sink = Submit(MakeRequest("a"));
  worker::v1::StepResult result;
  result.set_step(7);
  engine_->OnStepResult({result, {}});
  EXPECT_EQ(Code(sink), absl::StatusCode::kUnavailable);
  EXPECT_THAT(sink->WaitForCompletion()->status.message(), HasSubstr("step 7"));
}

TEST_F(EngineLoopTest, DrainingRefusesNewRequestsAndFinishesOldOnes) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto old = Submit(MakeRequest("old"));
  engine_->Drain();
  const auto fresh = Submit(MakeRequest("new"));
  EXPECT_EQ(Code(fresh), absl::StatusCode::kUnavailable);
  EXPECT_THAT(fresh->WaitForCompletion()->status.message(), HasSubstr("draining"));
  ASSERT_TRUE(RunUntilComplete(old));
  EXPECT_EQ(Code(old), absl::StatusCode::kOk);
  EXPECT_EQ(old->tokens().size(), 6);
}

TEST_F(EngineLoopTest, StopEndsEveryRequestAndRefusesLaterOnes) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto running = Submit(MakeRequest("a"));
  ASSERT_TRUE(pool_->WaitAndRunStep());
  engine_->Stop();
  EXPECT_EQ(running->num_completions(), 1);
  EXPECT_EQ(Code(running), absl::StatusCode::kUnavailable);
  const auto later = Submit(MakeRequest("b"));
  EXPECT_EQ(later->num_completions(), 1);
  EXPECT_EQ(Code(later), absl::StatusCode::kUnavailable);
  engine_->Stop();
}

TEST_F(EngineLoopTest, AnEngineThatWasNeverStartedAnswersWhenItStops) {
  EngineOptions options;
  EngineLoop engine(options);
  auto sink = std::make_shared<RecordingSink>();
  SubmitOne(engine, MakeRequest("a"), sink);
  engine.Stop();
  EXPECT_EQ(Code(sink), absl::StatusCode::kUnavailable);
}

TEST_F(EngineLoopTest, EveryRequestCompletesOnceWhileManyThreadsSubmitCancelAndStop) {
  StartEngine(FakeWorkerPool::Mode::kThreaded, 24);
  pool_->Ready();
  std::vector<std::vector<std::shared_ptr<RecordingSink>>> sinks(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < sinks.size(); ++t) {
    threads.emplace_back([this, t, &sinks] {
      for (int i = 0; i < 200; ++i) {
        auto sink = std::make_shared<RecordingSink>();
        const RequestHandle handle =
            SubmitOne(*engine_, MakeRequest(absl::StrCat(t, "-", i), 1 + i % 30, 1 + i % 20), sink);
        if (i % 3 == 0) engine_->Finish(handle, v1::ABORTED, absl::OkStatus(), MonotonicNow());
        if (i % 5 == 0) sink->WaitForTokens(1, absl::Milliseconds(1));
        engine_->Snapshot();
        sinks[t].push_back(std::move(sink));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine_->Stop();
  for (const auto& of_thread : sinks) {
    for (const auto& sink : of_thread) EXPECT_EQ(sink->num_completions(), 1);
  }
}

}  // namespace
}  // namespace lockstep::server
