// Which requests the scheduler takes, and in which order it admits them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

SchedulerOptions TwoSlotOptions() {
  SchedulerOptions options = SmallOptions();
  options.max_model_len = 32;
  options.max_num_seqs = 2;
  options.max_steps_in_flight = 1;
  options.max_queued_requests = 1;
  return options;
}

TEST(SchedulerAdmission, TheQueueHoldsItsLimitBesideTheFreeSlots) {
  SchedulerHarness harness(TwoSlotOptions(), 16);
  harness.Start();
  for (int i = 0; i < 3; ++i) {
    harness.Add(harness.MakeRequest(4, 4));
    EXPECT_TRUE(harness.last_add.ok()) << harness.last_add;
  }
  harness.Add(harness.MakeRequest(4, 4));
  EXPECT_EQ(harness.last_add.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(harness.last_add.message(), HasSubstr("3 requests wait"));
}

TEST(SchedulerAdmission, ThereIsRoomInTheQueueAgainWhenARequestEnds) {
  SchedulerHarness harness(TwoSlotOptions(), 16);
  harness.Start();
  for (int i = 0; i < 3; ++i) harness.Add(harness.MakeRequest(4, 4));
  harness.Schedule();
  harness.Add(harness.MakeRequest(4, 4));
  EXPECT_FALSE(harness.last_add.ok());
  harness.scheduler.Finish(1, v1::ABORTED, {});
  harness.Add(harness.MakeRequest(4, 4));
  EXPECT_TRUE(harness.last_add.ok()) << harness.last_add;
}

TEST(SchedulerAdmission, WaitingTokensAreLimitedTogether) {
  SchedulerOptions options = TwoSlotOptions();
  options.max_queued_requests = 100;
  options.max_queued_tokens = 20;
  SchedulerHarness harness(options, 16);
  harness.Add(harness.MakeRequest(12, 4));
  EXPECT_TRUE(harness.last_add.ok());
  harness.Add(harness.MakeRequest(9, 4));
  EXPECT_EQ(harness.last_add.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(harness.last_add.message(),
              HasSubstr("21 tokens would wait (--max-queued-tokens 20)"));
  harness.Add(harness.MakeRequest(8, 4));
  EXPECT_TRUE(harness.last_add.ok()) << harness.last_add;
}

TEST(SchedulerAdmission, RequestsThatComeTogetherWaitAllOrNone) {
  SchedulerOptions options = TwoSlotOptions();
  options.max_queued_requests = 3;
  options.max_queued_tokens = 20;
  SchedulerHarness harness(options, 16);
  harness.Start();
  // To an empty queue they may bring as many tokens as they have.
  EXPECT_TRUE(harness.scheduler.CheckQueue(5, 1000).ok());
  EXPECT_EQ(harness.scheduler.CheckQueue(6, 1).code(), absl::StatusCode::kResourceExhausted);
  harness.Add(harness.MakeRequest(12, 4));
  harness.Add(harness.MakeRequest(12, 4));
  harness.Add(harness.MakeRequest(12, 4));
  EXPECT_TRUE(harness.last_add.ok()) << "no step has been planned yet: " << harness.last_add;
  harness.Schedule();
  EXPECT_EQ(harness.scheduler.num_waiting(), 1U);
  EXPECT_TRUE(harness.scheduler.CheckQueue(2, 8).ok());
  EXPECT_EQ(harness.scheduler.CheckQueue(2, 9).code(), absl::StatusCode::kResourceExhausted);
}

// Free slots are no room where the blocks are taken.
TEST(SchedulerAdmission, WhatTheNextStepMayBeginDoesNotCountAsWaiting) {
  SchedulerOptions options = TwoSlotOptions();
  options.max_num_seqs = 4;
  options.max_queued_tokens = 5;
  SchedulerHarness harness(options, 10);
  harness.Start();
  harness.Add(harness.MakeRequest(12, 4));
  harness.Add(harness.MakeRequest(12, 4));
  EXPECT_TRUE(harness.last_add.ok()) << "blocks for 40 tokens are free: " << harness.last_add;
  harness.Add(harness.MakeRequest(24, 4));
  EXPECT_EQ(harness.last_add.code(), absl::StatusCode::kResourceExhausted);
}

TEST(SchedulerAdmission, ARequestAloneIsTakenHoweverManyTokensItHas) {
  SchedulerOptions options = TwoSlotOptions();
  options.max_queued_tokens = 5;
  SchedulerHarness harness(options, 16);
  harness.Add(harness.MakeRequest(12, 4));
  EXPECT_TRUE(harness.last_add.ok()) << harness.last_add;
}

TEST(SchedulerAdmission, APromptForLogitsMayFillTheContext) {
  SchedulerHarness harness(TwoSlotOptions(), 16);
  EngineRequest request = harness.MakeRequest(32, 0);
  request.logits = worker::v1::LOGITS_LAST;
  harness.Add(std::move(request));
  EXPECT_TRUE(harness.last_add.ok()) << harness.last_add;
}

TEST(SchedulerAdmissionDeathTest, LengthsThatWereNotAdmittedAbort) {
  SchedulerHarness harness(TwoSlotOptions(), 16);
  for (const auto& [num_prompt_tokens, num_new_tokens] : {std::pair(0, 4), {4, 0}, {28, 5}}) {
    const EngineRequest request = harness.MakeRequest(num_prompt_tokens, num_new_tokens);
    EXPECT_DEATH(harness.Add(request), "was not admitted");
  }
  harness.Add(harness.MakeRequest(28, 4));
  EXPECT_TRUE(harness.last_add.ok()) << harness.last_add;
}

TEST(SchedulerAdmissionDeathTest, AKvCacheOfLessThanAContextAborts) {
  Scheduler scheduler(TwoSlotOptions());
  EXPECT_DEATH(scheduler.Start(7), "does not hold one sequence");
  scheduler.Start(8);
  EXPECT_TRUE(scheduler.started());
}

TEST(SchedulerAdmission, RequestsWaitUntilTheWorkersAreReady) {
  SchedulerHarness harness(TwoSlotOptions(), 16);
  const RequestHandle handle = harness.Add(harness.MakeRequest(4, 3));
  EXPECT_FALSE(harness.Schedule().has_value());
  harness.Start();
  harness.RunAll();
  EXPECT_EQ(harness.outcome(handle).answer.size(), 3);
}

TEST(SchedulerAdmission, PriorityComesBeforeArrivalAndArrivalBeforeSubmission) {
  SchedulerOptions options = TwoSlotOptions();
  options.max_queued_requests = 10;
  options.max_num_seqs = 1;
  SchedulerHarness harness(options, 16);
  EngineRequest late = harness.MakeRequest(4, 1);
  late.arrival = harness.now + absl::Seconds(1);
  const RequestHandle third = harness.Add(late);
  EngineRequest early = harness.MakeRequest(4, 1);
  const RequestHandle second = harness.Add(early);
  EngineRequest urgent = late;
  urgent.priority = 1;
  const RequestHandle first = harness.Add(urgent);
  harness.Start();
  std::vector<RequestHandle> order;
  while (harness.Schedule().has_value()) {
    for (RequestHandle handle : {first, second, third}) {
      Outcome& outcome = harness.outcome(handle);
      if (outcome.num_scheduled == 1 && !outcome.completion) order.push_back(handle);
    }
    harness.Apply();
  }
  EXPECT_EQ(order, (std::vector<RequestHandle>{first, second, third}));
}

TEST(SchedulerAdmission, AShortRequestDoesNotOvertakeALongOne) {
  SchedulerOptions options = TwoSlotOptions();
  options.max_num_seqs = 3;
  SchedulerHarness harness(options, 8);
  harness.Start();
  harness.Add(harness.MakeRequest(16, 8));
  harness.Schedule();
  harness.Apply();
  const RequestHandle too_long_for_now = harness.Add(harness.MakeRequest(24, 1));
  const RequestHandle small = harness.Add(harness.MakeRequest(1, 1));
  harness.Schedule();
  EXPECT_EQ(harness.outcome(too_long_for_now).num_scheduled, 0);
  EXPECT_EQ(harness.outcome(small).num_scheduled, 0);
}

}  // namespace
}  // namespace lockstep::server
