// Requests that want logits instead of an answer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/testing/fake_model.h"
#include "tests/testing/whole_result.h"
#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

EngineRequest MakeLogitsRequest(SchedulerHarness& harness, int32_t num_prompt_tokens,
                                worker::v1::LogitsRequest logits) {
  EngineRequest request = harness.MakeRequest(num_prompt_tokens, 0);
  request.logits = logits;
  return request;
}

void ExpectRows(const Outcome& outcome, size_t first_row) {
  const std::vector<int32_t>& prompt = outcome.request->prompt;
  std::vector<float> expected;
  for (size_t row = first_row; row < prompt.size(); ++row) {
    const std::vector<float> logits = testing::FakeLogits(
        absl::MakeConstSpan(prompt).subspan(0, row + 1), SchedulerHarness::kVocabSize);
    expected.insert(expected.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(outcome.logits, expected);
  EXPECT_TRUE(outcome.answer.empty());
  ASSERT_TRUE(outcome.completion.has_value());
  EXPECT_TRUE(outcome.completion->status.ok()) << outcome.completion->status;
}

TEST(SchedulerLogits, LogitsOfEveryPositionComeInOrderAcrossChunks) {
  SchedulerHarness harness(SmallOptions(), 16);
  harness.Start();
  const RequestHandle handle = harness.Add(MakeLogitsRequest(harness, 40, worker::v1::LOGITS_ALL));
  harness.RunAll();
  EXPECT_EQ(harness.outcome(handle).num_logit_rows, 40);
  ExpectRows(harness.outcome(handle), 0);
  EXPECT_EQ(harness.scheduler.num_used_blocks(), 0);
}

TEST(SchedulerLogits, LogitsOfTheLastPositionComeOnceAfterTheLastChunk) {
  SchedulerHarness harness(SmallOptions(), 16);
  harness.Start();
  const RequestHandle handle = harness.Add(MakeLogitsRequest(harness, 40, worker::v1::LOGITS_LAST));
  harness.RunAll();
  EXPECT_EQ(harness.outcome(handle).num_logit_rows, 1);
  ExpectRows(harness.outcome(handle), 39);
}

TEST(SchedulerLogits, TheStepsOfAPromptAreNamedWithTheirTimes) {
  SchedulerHarness harness(SmallOptions(), 16);
  harness.Start();
  // The first ends within the second step, in which the second begins.
  const RequestHandle first = harness.Add(MakeLogitsRequest(harness, 20, worker::v1::LOGITS_LAST));
  const RequestHandle second = harness.Add(MakeLogitsRequest(harness, 20, worker::v1::LOGITS_LAST));
  harness.RunAll();
  const auto steps = [&harness](RequestHandle handle) {
    std::vector<uint64_t> numbers;
    for (const StepTime& step : harness.outcome(handle).completion->steps) {
      EXPECT_EQ(step.duration, absl::Milliseconds(1));
      numbers.push_back(step.step);
    }
    return numbers;
  };
  EXPECT_EQ(steps(first), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(steps(second), (std::vector<uint64_t>{2, 3}));
}

TEST(SchedulerLogits, ABatchThatFitsTheBudgetRunsInOneStep) {
  SchedulerHarness harness(SmallOptions(), 4);
  harness.Start();
  for (int i = 0; i < 4; ++i) {
    harness.Add(MakeLogitsRequest(harness, 4, worker::v1::LOGITS_LAST));
  }
  const std::optional<worker::v1::StepPlan> plan = harness.Schedule();
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->scheduled_size(), 4);
  harness.Apply();
  for (const auto& [handle, outcome] : harness.outcomes) ExpectRows(outcome, 3);
}

TEST(SchedulerLogits, APromptThatIsPreemptedDeliversNoRowTwice) {
  SchedulerOptions options = SmallOptions();
  options.max_num_batched_tokens = 4;
  SchedulerHarness harness(options, 12);
  harness.Start();
  harness.Add(harness.MakeRequest(3, 30));
  harness.now += absl::Seconds(1);
  harness.Schedule();
  harness.Apply();
  const RequestHandle handle = harness.Add(MakeLogitsRequest(harness, 40, worker::v1::LOGITS_ALL));
  harness.RunAll();
  EXPECT_GE(harness.outcome(handle).num_preemptions, 1);
  EXPECT_EQ(harness.outcome(handle).num_logit_rows, 40);
  ExpectRows(harness.outcome(handle), 0);
}

TEST(SchedulerLogits, RowsThatAreNotAsWideAsTheVocabularyAreAnError) {
  SchedulerOptions options = SmallOptions();
  options.vocab_size = 10;
  Scheduler scheduler(options);
  scheduler.Start(16);
  auto request = std::make_shared<EngineRequest>();
  request->prompt = {1, 2, 3};
  request->logits = worker::v1::LOGITS_ALL;
  ASSERT_TRUE(scheduler.Add(1, request).ok());
  ASSERT_TRUE(scheduler.Schedule(absl::UnixEpoch()).has_value());
  worker::v1::StepResult result;
  result.set_step(1);
  worker::v1::SlotLogits& logits = *result.add_logits();
  logits.set_num_rows(3);
  const auto apply = [&] {
    return scheduler.Apply(testing::WholeResult(result), absl::UnixEpoch()).status();
  };
  constexpr size_t kColumnBytes = 3 * sizeof(float);

  EXPECT_THAT(apply().message(), HasSubstr("lacks the logits of 3 positions from 0 of slot 0"));
  logits.add_shards(std::string(6 * kColumnBytes, 0));
  EXPECT_EQ(apply().code(), absl::StatusCode::kInternal) << "a rank's shard is missing";
  logits.add_shards(std::string(5 * kColumnBytes, 0));
  EXPECT_EQ(apply().code(), absl::StatusCode::kInternal) << "a column too many";
  logits.set_shards(1, std::string(4 * kColumnBytes + 1, 0));
  EXPECT_EQ(apply().code(), absl::StatusCode::kInternal) << "a row that is not whole";
  logits.set_shards(1, std::string(4 * kColumnBytes, 0));
  EXPECT_TRUE(apply().ok()) << apply();
}

}  // namespace
}  // namespace lockstep::server
