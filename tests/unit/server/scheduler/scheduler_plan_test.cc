// What the scheduler puts into a step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

using worker::v1::ScheduledSlot;
using worker::v1::StepPlan;

SchedulerOptions OneStepOptions() {
  SchedulerOptions options = SmallOptions();
  options.max_steps_in_flight = 1;
  return options;
}

int NumTokens(const StepPlan& plan) {
  int num_tokens = 0;
  for (const ScheduledSlot& row : plan.scheduled())
    num_tokens += static_cast<int>(row.num_tokens());
  return num_tokens;
}

TEST(SchedulerPlan, AnIdleSchedulerPlansNothing) {
  SchedulerHarness harness(OneStepOptions(), 16);
  harness.Start();
  EXPECT_FALSE(harness.Schedule().has_value());
}

TEST(SchedulerPlan, TheFirstStepAdmitsTheRequestWithAllItNeeds) {
  SchedulerHarness harness(OneStepOptions(), 16);
  harness.Start();
  EngineRequest request = harness.MakeRequest(6, 4);
  request.sampling.set_seed(77);
  const std::vector<int32_t> prompt = request.prompt;
  const RequestHandle handle = harness.Add(std::move(request));
  const StepPlan plan = *harness.Schedule();
  EXPECT_EQ(plan.step(), 1);
  ASSERT_EQ(plan.admitted_size(), 1);
  EXPECT_EQ(plan.admitted(0).sampling().seed(), 77);
  EXPECT_THAT(plan.admitted(0).token_ids(), ::testing::ElementsAreArray(prompt));
  ASSERT_EQ(plan.scheduled_size(), 1);
  EXPECT_EQ(plan.scheduled(0).num_tokens(), 6);
  EXPECT_EQ(plan.scheduled(0).new_blocks_size(), 2);
  EXPECT_EQ(harness.outcome(handle).num_scheduled, 1);
}

TEST(SchedulerPlan, ALongPromptRunsInChunksOfTheBudget) {
  SchedulerHarness harness(OneStepOptions(), 16);
  harness.Start();
  const RequestHandle handle = harness.Add(harness.MakeRequest(40, 2));
  std::vector<uint32_t> chunks;
  while (harness.outcome(handle).answer.empty()) {
    chunks.push_back(harness.Schedule()->scheduled(0).num_tokens());
    harness.Apply();
  }
  EXPECT_EQ(chunks, (std::vector<uint32_t>{16, 16, 8}));
  EXPECT_EQ(harness.outcome(handle).num_scheduled, 1);
}

TEST(SchedulerPlan, DecodesRunBesideAPrefillAndComeFirst) {
  SchedulerHarness harness(OneStepOptions(), 32);
  harness.Start();
  harness.Add(harness.MakeRequest(4, 20));
  harness.Add(harness.MakeRequest(4, 20));
  harness.Schedule();
  harness.Apply();
  harness.Add(harness.MakeRequest(40, 2));
  for (int i = 0; i < 2; ++i) {
    const StepPlan plan = *harness.Schedule();
    ASSERT_EQ(plan.scheduled_size(), 3);
    EXPECT_EQ(plan.scheduled(0).num_tokens(), 1);
    EXPECT_EQ(plan.scheduled(1).num_tokens(), 1);
    EXPECT_EQ(plan.scheduled(2).num_tokens(), 14);
    harness.Apply();
    EXPECT_EQ(harness.last_summary->num_decode_tokens, 2);
    EXPECT_EQ(harness.last_summary->num_prefill_tokens, 14);
  }
}

TEST(SchedulerPlan, AnEarlierPrefillLeavesLaterDecodesTheirTokens) {
  SchedulerHarness harness(OneStepOptions(), 32);
  harness.Start();
  EngineRequest urgent = harness.MakeRequest(40, 2);
  urgent.priority = 1;
  harness.Add(harness.MakeRequest(4, 20));
  harness.Schedule();
  harness.Apply();
  harness.Add(std::move(urgent));
  harness.Schedule();
  harness.Apply();
  const StepPlan plan = *harness.Schedule();
  ASSERT_EQ(plan.scheduled_size(), 2);
  EXPECT_EQ(plan.scheduled(0).num_tokens(), 1);
  EXPECT_EQ(plan.scheduled(1).num_tokens(), 15);
}

TEST(SchedulerPlan, NoMoreSequencesRunThanThereAreSlots) {
  SchedulerHarness harness(OneStepOptions(), 32);
  harness.Start();
  for (int i = 0; i < 6; ++i) harness.Add(harness.MakeRequest(2, 3));
  EXPECT_EQ(harness.Schedule()->admitted_size(), 4);
  harness.RunAll();
  for (const auto& [handle, outcome] : harness.outcomes) EXPECT_EQ(outcome.answer.size(), 3);
}

TEST(SchedulerPlan, ADecodeStepIsAFewBytesPerSequence) {
  SchedulerOptions options;
  options.max_num_batched_tokens = 2048;
  options.max_num_seqs = 256;
  SchedulerHarness harness(options, 4096);
  harness.Start();
  for (int i = 0; i < 256; ++i) harness.Add(harness.MakeRequest(8, 20));
  harness.Schedule();
  harness.Apply();
  const StepPlan plan = *harness.Schedule();
  EXPECT_EQ(plan.scheduled_size(), 256);
  EXPECT_LT(plan.ByteSizeLong(), 256 * 12);
}

TEST(SchedulerPlan, AnEndedRequestsSlotIsReleasedByTheNextPlanAndUsableInIt) {
  SchedulerOptions options = OneStepOptions();
  options.max_num_seqs = 1;
  SchedulerHarness harness(options, 8);
  harness.Start();
  const RequestHandle first = harness.Add(harness.MakeRequest(4, 8));
  harness.Add(harness.MakeRequest(4, 8));
  harness.Schedule();
  harness.Apply();
  harness.scheduler.Finish(first, v1::ABORTED, {});
  EXPECT_EQ(harness.scheduler.num_used_blocks(), 0);
  const StepPlan plan = *harness.Schedule();
  EXPECT_THAT(plan.released_slots(), ::testing::ElementsAre(0));
  ASSERT_EQ(plan.admitted_size(), 1);
  EXPECT_EQ(plan.admitted(0).slot(), 0);
}

TEST(SchedulerPlan, TheLatestArrivalIsPreemptedAndGoesOnWithoutLosingAToken) {
  SchedulerHarness harness(OneStepOptions(), 8);
  harness.Start();
  const RequestHandle first = harness.Add(harness.MakeRequest(8, 20));
  harness.now += absl::Seconds(1);
  const RequestHandle second = harness.Add(harness.MakeRequest(8, 20));
  harness.now += absl::Seconds(1);
  const RequestHandle third = harness.Add(harness.MakeRequest(8, 2));
  harness.RunAll();
  EXPECT_EQ(harness.outcome(first).num_preemptions, 0);
  EXPECT_GE(harness.outcome(second).num_preemptions, 1);
  EXPECT_EQ(harness.scheduler.num_preemptions(),
            harness.outcome(second).num_preemptions + harness.outcome(third).num_preemptions);
  // Every token but an answer's last one is run, and once more where its blocks were lost.
  EXPECT_GT(harness.num_recomputed_tokens, 0);
  EXPECT_EQ(harness.num_tokens_run - harness.num_recomputed_tokens, 2 * (8 + 19) + 8 + 1);
  for (RequestHandle handle : {first, second, third}) {
    Completion alone;
    EXPECT_EQ(harness.outcome(handle).answer,
              harness.AnswerAlone(*harness.outcome(handle).request, &alone));
    EXPECT_EQ(harness.outcome(handle).num_scheduled, 1);
  }
}

TEST(SchedulerPlan, ALowerPriorityIsPreemptedBeforeALaterArrival) {
  SchedulerHarness harness(OneStepOptions(), 8);
  harness.Start();
  EngineRequest request = harness.MakeRequest(8, 20);
  request.priority = -1;
  const RequestHandle low = harness.Add(std::move(request));
  harness.now += absl::Seconds(1);
  const RequestHandle late = harness.Add(harness.MakeRequest(8, 20));
  harness.RunAll();
  EXPECT_GE(harness.outcome(low).num_preemptions, 1);
  EXPECT_EQ(harness.outcome(late).num_preemptions, 0);
}

TEST(SchedulerPlan, APreemptedRequestIsAdmittedAgainBeforeThoseThatCameLater) {
  SchedulerHarness harness(OneStepOptions(), 8);
  harness.Start();
  harness.Add(harness.MakeRequest(8, 20));
  const RequestHandle preempted = harness.Add(harness.MakeRequest(8, 20));
  harness.now += absl::Seconds(1);
  const RequestHandle later = harness.Add(harness.MakeRequest(24, 2));
  while (!harness.outcome(preempted).completion) {
    harness.Schedule();
    EXPECT_EQ(harness.outcome(later).num_scheduled, 0);
    ASSERT_TRUE(harness.Apply());
  }
  harness.RunAll();
  EXPECT_TRUE(harness.outcome(later).completion->status.ok());
}

TEST(SchedulerPlan, AReadmittedSequenceBringsItsPromptAndItsAnswerSoFar) {
  SchedulerHarness harness(OneStepOptions(), 8);
  harness.Start();
  harness.Add(harness.MakeRequest(8, 20));
  const RequestHandle handle = harness.Add(harness.MakeRequest(8, 20));
  while (harness.outcome(handle).num_preemptions == 0) {
    harness.Schedule();
    harness.Apply();
  }
  const std::vector<int32_t> answer = harness.outcome(handle).answer;
  std::optional<StepPlan> plan = harness.Schedule();
  while (plan->admitted().empty()) {
    harness.Apply();
    plan = harness.Schedule();
  }
  std::vector<int32_t> expected = harness.outcome(handle).request->prompt;
  expected.insert(expected.end(), answer.begin(), answer.end());
  EXPECT_THAT(plan->admitted(0).token_ids(), ::testing::ElementsAreArray(expected));
  EXPECT_EQ(plan->admitted(0).sampling().num_prompt_tokens(), 8);
}

TEST(SchedulerPlan, AdmittingKeepsABlockInReserveForEachSequenceThatGrows) {
  SchedulerHarness harness(OneStepOptions(), 4);
  harness.Start();
  harness.Add(harness.MakeRequest(8, 4));
  const RequestHandle second = harness.Add(harness.MakeRequest(8, 4));
  harness.Schedule();
  EXPECT_EQ(harness.outcome(second).num_scheduled, 0);
  harness.RunAll();
  EXPECT_EQ(harness.scheduler.num_preemptions(), 0);
}

TEST(SchedulerPlan, NobodyIsAdmittedInAStepThatARunningSequenceLacksABlockFor) {
  SchedulerOptions options = OneStepOptions();
  options.max_num_seqs = 2;
  SchedulerHarness harness(options, 5);
  harness.Start();
  harness.Add(harness.MakeRequest(8, 8));
  const RequestHandle preempted = harness.Add(harness.MakeRequest(7, 8));
  harness.Schedule();
  harness.Apply();
  EngineRequest urgent = harness.MakeRequest(4, 1);
  urgent.priority = 1;
  const RequestHandle waiting = harness.Add(std::move(urgent));
  harness.Schedule();  // the first one takes the last block
  harness.Apply();
  harness.Schedule();
  EXPECT_EQ(harness.outcome(preempted).num_preemptions, 1);
  EXPECT_EQ(harness.outcome(waiting).num_scheduled, 0) << "though its block and a slot are free";
  harness.Apply();
  harness.Schedule();
  EXPECT_EQ(harness.outcome(waiting).num_scheduled, 1);
  harness.RunAll();
  EXPECT_EQ(harness.outcome(preempted).answer.size(), 8);
}

TEST(SchedulerPlan, NobodyIsPreemptedWhileBlocksReturnWithAStepInFlight) {
  SchedulerOptions options = OneStepOptions();
  options.max_steps_in_flight = 2;
  SchedulerHarness harness(options, 4);
  harness.Start();
  const RequestHandle growing = harness.Add(harness.MakeRequest(4, 6));
  const RequestHandle ended = harness.Add(harness.MakeRequest(4, 6));
  harness.Schedule();
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(harness.Schedule().has_value());
    ASSERT_TRUE(harness.Apply());
  }
  // Both have two full blocks, of four, and a row in the step that is in flight.
  harness.scheduler.Finish(ended, v1::ABORTED, {});
  EXPECT_FALSE(harness.Schedule().has_value()) << "the blocks are not free before the step is done";
  EXPECT_EQ(harness.scheduler.num_running(), 1);
  harness.RunAll();
  EXPECT_EQ(harness.scheduler.num_preemptions(), 0);
  EXPECT_EQ(harness.outcome(growing).answer.size(), 6);
}

TEST(SchedulerPlan, WhoIsHeldBackGivesUpItsPlaceAndIsCounted) {
  SchedulerHarness harness(OneStepOptions(), 16);
  harness.Start();
  const RequestHandle handle = harness.Add(harness.MakeRequest(4, 8));
  harness.Schedule();
  harness.Apply();
  harness.scheduler.HoldBack(handle);
  EXPECT_EQ(harness.scheduler.num_held_back(), 1);
  EXPECT_EQ(harness.scheduler.num_running(), 0);
  EXPECT_EQ(harness.scheduler.num_waiting(), 1);
  EXPECT_EQ(harness.scheduler.num_used_blocks(), 0);
  harness.scheduler.HoldBack(handle + 1);
  EXPECT_EQ(harness.scheduler.num_held_back(), 1) << "there is no such request";
}

TEST(SchedulerPlan, TheNextDecodeIsPlannedBeforeTheTokenIsKnown) {
  SchedulerOptions options = OneStepOptions();
  options.max_steps_in_flight = 2;
  SchedulerHarness harness(options, 16);
  harness.Start();
  const RequestHandle handle = harness.Add(harness.MakeRequest(4, 3));
  ASSERT_TRUE(harness.Schedule().has_value());
  const StepPlan ahead = *harness.Schedule();
  EXPECT_EQ(ahead.scheduled(0).position(), 4);
  EXPECT_FALSE(harness.Schedule().has_value()) << "two steps are in flight";
  harness.RunAll();
  EXPECT_EQ(harness.outcome(handle).answer.size(), 3);
}

TEST(SchedulerPlan, TheLastTokenOfAnAnswerIsNotRun) {
  for (int32_t depth : {1, 2, 3}) {
    SchedulerOptions options = OneStepOptions();
    options.max_steps_in_flight = depth;
    SchedulerHarness harness(options, 16);
    harness.Start();
    harness.Add(harness.MakeRequest(4, 3));
    int num_tokens = 0;
    do {
      while (std::optional<StepPlan> plan = harness.Schedule()) num_tokens += NumTokens(*plan);
    } while (harness.Apply());
    EXPECT_EQ(num_tokens, 4 + 2) << "steps in flight: " << depth;
  }
}

TEST(SchedulerPlan, ARowInFlightWhenItsRequestEndsIsDropped) {
  SchedulerOptions options = OneStepOptions();
  options.max_steps_in_flight = 2;
  SchedulerHarness harness(options, 16, {9});
  harness.Start();
  EngineRequest request = harness.MakeRequest(4, 10);
  request.eos_token_ids = {9};
  const RequestHandle handle = harness.Add(std::move(request));
  harness.Schedule();
  harness.Schedule();
  harness.Apply();
  EXPECT_EQ(harness.outcome(handle).completion->reason, v1::EOS);
  EXPECT_EQ(harness.scheduler.num_used_blocks(), 2) << "the second step still writes to them";
  harness.Apply();
  EXPECT_EQ(harness.outcome(handle).answer.size(), 1);
  EXPECT_EQ(harness.scheduler.num_used_blocks(), 0);
}

}  // namespace
}  // namespace lockstep::server
