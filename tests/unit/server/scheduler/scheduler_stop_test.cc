// How requests end, and what results the scheduler believes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/whole_result.h"
#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kVocabSize = SchedulerHarness::kVocabSize;

SchedulerOptions ShortOptions() {
  SchedulerOptions options = SmallOptions();
  options.max_model_len = 12;
  options.max_num_batched_tokens = 4;
  options.vocab_size = kVocabSize;
  return options;
}

TEST(SchedulerStop, AnEosTokenEndsTheAnswerAndIsPartOfIt) {
  SchedulerHarness harness(ShortOptions(), 8, {5, 6, 7, 8});
  harness.Start();
  EngineRequest request = harness.MakeRequest(3, 8);
  request.eos_token_ids = {1, 7};
  const RequestHandle handle = harness.Add(std::move(request));
  harness.RunAll();
  const Outcome& outcome = harness.outcome(handle);
  EXPECT_THAT(outcome.answer, ElementsAre(5, 6, 7));
  EXPECT_TRUE(outcome.has_end_token);
  EXPECT_EQ(outcome.completion->reason, v1::EOS);
  EXPECT_EQ(outcome.completion->stop_token_id, 7);
  EXPECT_EQ(outcome.completion->num_completion_tokens, 3);
}

TEST(SchedulerStop, AStopTokenEndsTheAnswer) {
  SchedulerHarness harness(ShortOptions(), 8, {5, 6, 7, 8});
  harness.Start();
  EngineRequest request = harness.MakeRequest(3, 8);
  request.stop_token_ids = {6};
  const RequestHandle handle = harness.Add(std::move(request));
  harness.RunAll();
  EXPECT_THAT(harness.outcome(handle).answer, ElementsAre(5, 6));
  EXPECT_TRUE(harness.outcome(handle).has_end_token);
  EXPECT_EQ(harness.outcome(handle).completion->reason, v1::STOP_TOKEN);
  EXPECT_EQ(harness.outcome(handle).completion->stop_token_id, 6);
}

TEST(SchedulerStop, NoEndTokenEndsTheAnswerBeforeMinNewTokens) {
  SchedulerHarness harness(ShortOptions(), 8, {6, 6, 6, 6});
  harness.Start();
  EngineRequest request = harness.MakeRequest(3, 8);
  request.stop_token_ids = {6};
  request.min_new_tokens = 2;
  const RequestHandle handle = harness.Add(std::move(request));
  harness.RunAll();
  // The first two were not said to end it either: the harness takes nothing after one that was.
  EXPECT_THAT(harness.outcome(handle).answer, ElementsAre(6, 6, 6));
  EXPECT_TRUE(harness.outcome(handle).has_end_token);
}

TEST(SchedulerStop, LogitsThatAreNotFiniteEndTheirOwnRequestAlone) {
  SchedulerHarness harness(ShortOptions(), 8, {5, 6, -1, 7});
  harness.Start();
  const RequestHandle broken = harness.Add(harness.MakeRequest(3, 8));
  const RequestHandle other = harness.Add(harness.MakeRequest(4, 2));
  harness.RunAll();
  const Outcome& outcome = harness.outcome(broken);
  EXPECT_THAT(outcome.answer, ElementsAre(5, 6));
  EXPECT_EQ(outcome.completion->status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(outcome.completion->status.message()),
              AllOf(HasSubstr("position 5"), HasSubstr("not finite")));
  EXPECT_EQ(outcome.completion->num_completion_tokens, 2);
  EXPECT_TRUE(harness.outcome(other).completion->status.ok());
  EXPECT_THAT(harness.outcome(other).answer, ElementsAre(5, 6));
  EXPECT_EQ(harness.scheduler.num_used_blocks(), 0U);
}

TEST(SchedulerStop, AnAnswerEndsAtMaxNewTokens) {
  SchedulerHarness harness(ShortOptions(), 8);
  harness.Start();
  const RequestHandle handle = harness.Add(harness.MakeRequest(3, 5));
  harness.RunAll();
  EXPECT_EQ(harness.outcome(handle).answer.size(), 5);
  EXPECT_EQ(harness.outcome(handle).completion->reason, v1::LENGTH);
  EXPECT_FALSE(harness.outcome(handle).completion->stop_token_id.has_value());
}

TEST(SchedulerStop, AnEosTokenAtMaxNewTokensCountsAsEos) {
  SchedulerHarness harness(ShortOptions(), 8, {5, 6});
  harness.Start();
  EngineRequest request = harness.MakeRequest(3, 2);
  request.eos_token_ids = {6};
  const RequestHandle handle = harness.Add(std::move(request));
  harness.RunAll();
  EXPECT_EQ(harness.outcome(handle).completion->reason, v1::EOS);
}

TEST(SchedulerStop, TimesAreTakenFromTheInjectedClock) {
  SchedulerOptions options = ShortOptions();
  options.max_steps_in_flight = 1;
  SchedulerHarness harness(options, 8);
  harness.Start();
  const RequestHandle handle = harness.Add(harness.MakeRequest(3, 2));
  const absl::Time start = harness.now;
  for (int i = 0; i < 2; ++i) {
    harness.now += absl::Seconds(1);
    harness.Schedule();
    harness.now += absl::Seconds(1);
    harness.Apply();
  }
  const Completion& completion = *harness.outcome(handle).completion;
  EXPECT_EQ(completion.first_scheduled, start + absl::Seconds(1));
  EXPECT_EQ(completion.first_token, start + absl::Seconds(2));
  EXPECT_EQ(completion.last_token, start + absl::Seconds(4));
}

// The phases of a request's life, reached in this order.
enum class Phase { kWaiting, kPrefillInFlight, kPrefillConfirmed, kDecodeInFlight };

class SchedulerPhases : public ::testing::TestWithParam<Phase> {
 protected:
  SchedulerPhases() : harness_(ShortOptions(), 8) {
    harness_.Start();
    EngineRequest request = harness_.MakeRequest(7, 4);
    request.deadline = harness_.now + absl::Seconds(5);
    handle_ = harness_.Add(std::move(request));
    if (GetParam() >= Phase::kPrefillInFlight) harness_.Schedule();
    if (GetParam() >= Phase::kPrefillConfirmed) harness_.Apply();
    if (GetParam() >= Phase::kDecodeInFlight) {
      for (int i = 0; i < 2; ++i) harness_.Schedule();
    }
  }

  void ExpectNothingLeft() {
    harness_.RunAll();
    EXPECT_EQ(harness_.scheduler.num_used_blocks(), 0);
    EXPECT_EQ(harness_.scheduler.num_running(), 0);
    EXPECT_EQ(harness_.scheduler.num_waiting(), 0);
    EXPECT_EQ(harness_.scheduler.num_waiting_tokens(), 0);
    EXPECT_EQ(harness_.scheduler.NextDeadline(), absl::InfiniteFuture());
  }

  SchedulerHarness harness_;
  RequestHandle handle_ = 0;
};

TEST_P(SchedulerPhases, ADeadlineEndsTheRequest) {
  EXPECT_EQ(harness_.scheduler.NextDeadline(), harness_.now + absl::Seconds(5));
  harness_.now += absl::Seconds(4);
  harness_.scheduler.Expire(harness_.now);
  harness_.Deliver();
  EXPECT_FALSE(harness_.outcome(handle_).completion.has_value());
  harness_.now += absl::Seconds(1);
  harness_.scheduler.Expire(harness_.now);
  harness_.Deliver();
  EXPECT_EQ(harness_.outcome(handle_).completion->status.code(),
            absl::StatusCode::kDeadlineExceeded);
  ExpectNothingLeft();
}

TEST_P(SchedulerPhases, FinishEndsTheRequestWithItsReason) {
  harness_.scheduler.Finish(handle_, v1::STOP_STRING, absl::OkStatus());
  harness_.scheduler.Finish(handle_, v1::ABORTED, absl::OkStatus());
  harness_.Deliver();
  EXPECT_EQ(harness_.outcome(handle_).completion->reason, v1::STOP_STRING);
  ExpectNothingLeft();
}

TEST_P(SchedulerPhases, FinishWithAnErrorEndsTheRequestWithIt) {
  harness_.scheduler.Finish(handle_, v1::ABORTED, absl::CancelledError("the client went away"));
  harness_.Deliver();
  EXPECT_EQ(harness_.outcome(handle_).completion->status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(harness_.outcome(handle_).completion->reason, v1::FINISH_REASON_UNSPECIFIED);
  ExpectNothingLeft();
}

TEST_P(SchedulerPhases, FinishAllEndsTheRequest) {
  harness_.scheduler.FinishAll(absl::UnavailableError("gone"));
  harness_.Deliver();
  EXPECT_EQ(harness_.outcome(handle_).completion->status.code(), absl::StatusCode::kUnavailable);
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(Phases, SchedulerPhases,
                         ::testing::Values(Phase::kWaiting, Phase::kPrefillInFlight,
                                           Phase::kPrefillConfirmed, Phase::kDecodeInFlight));

class SchedulerResults : public ::testing::Test {
 protected:
  SchedulerResults() : scheduler_(ShortOptions()) {
    scheduler_.Start(8);
    auto request = std::make_shared<EngineRequest>();
    request->prompt = {1, 2, 3};
    request->max_new_tokens = 4;
    EXPECT_TRUE(scheduler_.Add(1, request).ok());
    EXPECT_TRUE(scheduler_.Schedule(absl::UnixEpoch()).has_value());
    result_.set_step(1);
    AddToken(0, 3);
  }

  void AddToken(uint32_t slot, uint32_t position) {
    worker::v1::SampledToken& token = *result_.add_sampled();
    token.set_slot(slot);
    token.set_position(position);
    token.set_token_id(5);
  }

  absl::Status Apply() {
    return scheduler_.Apply(testing::WholeResult(result_), absl::UnixEpoch()).status();
  }

  Scheduler scheduler_;
  worker::v1::StepResult result_;
};

TEST_F(SchedulerResults, TheExpectedResultIsTaken) { EXPECT_TRUE(Apply().ok()); }

TEST_F(SchedulerResults, AnotherStepsResultIsAnError) {
  result_.set_step(2);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Apply().message(), HasSubstr("step 2 came where that of step 1 was next"));
}

TEST_F(SchedulerResults, AMissingTokenIsAnErrorThatNamesTheSlot) {
  result_.clear_sampled();
  EXPECT_THAT(Apply().message(), HasSubstr("lacks the token at position 3 of slot 0"));
}

TEST_F(SchedulerResults, ATokenAtAnotherPositionIsAnError) {
  result_.mutable_sampled(0)->set_position(4);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
}

TEST_F(SchedulerResults, TokensThatNobodyAskedForAreErrors) {
  AddToken(1, 3);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
  result_.mutable_sampled(1)->set_slot(0);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
  result_.mutable_sampled(1)->set_slot(4'000'000'000);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
}

TEST_F(SchedulerResults, LogitsThatNobodyAskedForAreAnError) {
  result_.add_logits()->set_num_rows(1);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
}

TEST_F(SchedulerResults, ATokenThatTheModelDoesNotHaveIsAnErrorThatNamesIt) {
  result_.mutable_sampled(0)->set_token_id(kVocabSize);
  EXPECT_EQ(Apply().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Apply().message(),
              HasSubstr("has token 64 for slot 0, but the vocabulary has 64 tokens"));
  result_.mutable_sampled(0)->set_token_id(kVocabSize - 1);
  result_.mutable_sampled(0)->add_top()->set_token_id(4'000'000'000);
  EXPECT_THAT(Apply().message(), HasSubstr("has token 4000000000"));
  result_.mutable_sampled(0)->mutable_top(0)->set_token_id(kVocabSize - 1);
  EXPECT_TRUE(Apply().ok());
}

TEST_F(SchedulerResults, ABadResultChangesNothing) {
  result_.mutable_sampled(0)->set_position(4);
  EXPECT_FALSE(Apply().ok());
  result_.mutable_sampled(0)->set_position(3);
  EXPECT_TRUE(Apply().ok());
}

}  // namespace
}  // namespace lockstep::server
