// Requests from beginning to end.

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
using ::testing::Pair;

TEST_F(EngineLoopTest, ManyRequestsGetTheAnswersThatEachGetsAlone) {
  StartEngine(FakeWorkerPool::Mode::kThreaded);
  pool_->Ready();
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  std::vector<std::vector<int32_t>> expected;
  for (int i = 0; i < 12; ++i) {
    auto request = MakeRequest(absl::StrCat("r", i), 3 + i, 10);
    expected.push_back(AnswerAlone(*request));
    sinks.push_back(Submit(std::move(request)));
  }
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_EQ(Code(sinks[i]), absl::StatusCode::kOk);
    EXPECT_EQ(sinks[i]->tokens(), expected[i]);
    EXPECT_EQ(sinks[i]->num_scheduled(), 1);
    EXPECT_EQ(sinks[i]->num_completions(), 1);
  }
  const EngineSnapshot snapshot = engine_->Snapshot();
  EXPECT_EQ(snapshot.generated_tokens, 120);
  EXPECT_EQ(snapshot.num_running, 0);
  MutexLock lock(seen_.mutex);
  EXPECT_EQ(seen_.first_tokens.size(), 12);
  EXPECT_EQ(seen_.later_tokens.size(), 108);
  EXPECT_EQ(seen_.done.size(), 12);
  EXPECT_GT(seen_.num_steps, 0);
}

TEST_F(EngineLoopTest, PreemptionsAreReportedAndAnswersStayWhole) {
  StartEngine(FakeWorkerPool::Mode::kThreaded, 12);
  auto first_request = MakeRequest("a", 8, 30);
  auto second_request = MakeRequest("b", 8, 30);
  const std::vector<int32_t> first_answer = AnswerAlone(*first_request);
  const std::vector<int32_t> second_answer = AnswerAlone(*second_request);
  const auto first = Submit(std::move(first_request));
  const auto second = Submit(std::move(second_request));
  // Only now, so that both run at the same time.
  pool_->Ready();
  EXPECT_EQ(Code(first), absl::StatusCode::kOk);
  EXPECT_EQ(Code(second), absl::StatusCode::kOk);
  EXPECT_EQ(first->tokens(), first_answer);
  EXPECT_EQ(second->tokens(), second_answer);
  EXPECT_GE(engine_->Snapshot().preemptions, 1);
  MutexLock lock(seen_.mutex);
  EXPECT_THAT(seen_.preempted, ::testing::Contains("b"));
}

TEST_F(EngineLoopTest, TheQueuesDelayIsMeasured) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  // Each takes all of a step's tokens, so that one leaves the queue at a time; two are in flight.
  for (int i = 0; i < 10; ++i) Submit(MakeRequest(absl::StrCat("r", i), 32, 1));
  for (int i = 0; i < 4; ++i) {
    now_ms_ += 100;
    ASSERT_TRUE(pool_->WaitAndRunStep());
    Settle();
  }
  const EngineSnapshot moving = engine_->Snapshot();
  ASSERT_EQ(moving.num_waiting, 4u);
  EXPECT_EQ(moving.num_waiting_tokens, 4u * 32);
  // The first interval may be 0: both steps of the beginning were planned at once.
  EXPECT_GE(moving.queue_delay.value_or(absl::ZeroDuration()), absl::Milliseconds(150));
  EXPECT_LE(moving.queue_delay.value_or(absl::ZeroDuration()), absl::Milliseconds(401));
  now_ms_ += 3'600'000;
  Settle();
  EXPECT_EQ(engine_->Snapshot().queue_delay, absl::Hours(1));
}

TEST_F(EngineLoopTest, TokensAreTimedFromTheArrivalAndFromOneAnother) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  const auto sink = Submit(MakeRequest("a", 5, 3));
  for (const int milliseconds : {20, 7, 3}) {
    now_ms_ += milliseconds;
    ASSERT_TRUE(pool_->WaitAndRunStep());
    Settle();
  }
  EXPECT_EQ(Code(sink), absl::StatusCode::kOk);
  MutexLock lock(seen_.mutex);
  EXPECT_THAT(seen_.first_tokens, ElementsAre(absl::Milliseconds(20)));
  EXPECT_THAT(seen_.later_tokens, ElementsAre(absl::Milliseconds(7), absl::Milliseconds(3)));
}

TEST_F(EngineLoopTest, TheSnapshotCountsWhatTheCacheHad) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  for (const char* id : {"first a", "second a"}) {  // with the same prompt
    ASSERT_TRUE(RunUntilComplete(Submit(MakeRequest(id, 9, 1))));
  }
  const EngineSnapshot snapshot = engine_->Snapshot();
  EXPECT_EQ(snapshot.prefix_cache_queries, 18);
  EXPECT_EQ(snapshot.prefix_cache_hits, 8) << "two full blocks";
  EXPECT_EQ(snapshot.prompt_tokens, 18) << "run or cached";
  EXPECT_EQ(snapshot.generated_tokens, 2);
  EXPECT_EQ(snapshot.steps, 2);
}

TEST_F(EngineLoopTest, RequestsSubmittedBeforeThePoolIsReadyWaitForIt) {
  StartEngine(FakeWorkerPool::Mode::kThreaded);
  const auto sink = Submit(MakeRequest("early"));
  EXPECT_EQ(sink->num_completions(), 0);
  pool_->Ready();
  EXPECT_EQ(Code(sink), absl::StatusCode::kOk);
  EXPECT_EQ(sink->tokens().size(), 6);
}

TEST_F(EngineLoopTest, APoolThatIsReadyBeforeTheEngineStartsIsUsed) {
  EngineOptions options;
  EngineLoop engine(options);
  FakeWorkerPool pool(engine, {}, FakeWorkerPool::Mode::kThreaded);
  pool.Ready();
  auto sink = std::make_shared<RecordingSink>();
  SubmitOne(engine, MakeRequest("a"), sink);
  engine.Start(pool);
  EXPECT_EQ(Code(sink), absl::StatusCode::kOk);
  engine.Stop();
}

TEST_F(EngineLoopTest, ABatchRunsInOneStep) {
  StartEngine(FakeWorkerPool::Mode::kManual);
  pool_->Ready();
  std::vector<Submission> batch;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 4; ++i) {
    auto request = MakeRequest("forward", 8);
    request->logits = worker::v1::LOGITS_ALL;
    sinks.push_back(std::make_shared<RecordingSink>());
    batch.push_back({std::move(request), sinks.back()});
  }
  EXPECT_EQ(engine_->SubmitBatch(std::move(batch)).size(), 4);
  ASSERT_TRUE(pool_->WaitAndRunStep());
  for (const auto& sink : sinks) {
    EXPECT_EQ(Code(sink), absl::StatusCode::kOk);
    ASSERT_EQ(sink->logits().size(), 1);
    EXPECT_EQ(sink->logits()[0].num_rows, 8);
  }
  EXPECT_EQ(pool_->plans().size(), 1);
}

TEST_F(EngineLoopTest, AFullQueueRefusesWithResourceExhausted) {
  StartEngine(FakeWorkerPool::Mode::kThreaded);
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (int i = 0; i < 13; ++i) sinks.push_back(Submit(MakeRequest(absl::StrCat("r", i))));
  EXPECT_EQ(Code(sinks.back()), absl::StatusCode::kResourceExhausted);
  // The last one is told before the state that CheckOpen looks at is published.
  absl::Status refusal;
  for (int i = 0; i < 10000 && refusal.ok(); ++i) {
    refusal = engine_->CheckOpen();
    if (refusal.ok()) absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  {
    MutexLock lock(seen_.mutex);
    EXPECT_THAT(seen_.done, ::testing::IsEmpty());
  }
  pool_->Ready();
  for (int i = 0; i < 12; ++i) EXPECT_EQ(Code(sinks[i]), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace lockstep::server
