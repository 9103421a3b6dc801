// Who goes first, and who is not begun at all.
#include <gtest/gtest.h>

#include "tests/unit/server/scheduler/scheduler_harness.h"

namespace lockstep::server {
namespace {

// One slot: requests run one after the other.
SchedulerOptions OneSlot() {
  SchedulerOptions options = SmallOptions();
  options.max_model_len = 256;
  options.max_num_seqs = 1;
  options.max_num_batched_tokens = 128;
  return options;
}

class SchedulerOrder : public ::testing::Test {
 protected:
  RequestHandle Add(int32_t priority, absl::Duration deadline = absl::InfiniteDuration(),
                    int32_t num_prompt_tokens = 3) {
    EngineRequest request = harness_.MakeRequest(num_prompt_tokens, 1);
    request.priority = priority;
    request.deadline = harness_.now + deadline;
    return harness_.Add(request);
  }

  // Runs all, and says in which order they ended.
  std::vector<RequestHandle> Order() {
    if (!harness_.scheduler.started()) harness_.Start();
    std::vector<RequestHandle> order;
    for (int i = 0; i < 1000; ++i) {
      while (harness_.Schedule().has_value()) {
      }
      const bool applied = harness_.Apply();
      for (const auto& [handle, outcome] : harness_.outcomes) {
        const bool is_new = std::find(order.begin(), order.end(), handle) == order.end();
        if (outcome.completion.has_value() && is_new) order.push_back(handle);
      }
      if (!applied) break;
    }
    return order;
  }

  using Handles = std::vector<RequestHandle>;
  SchedulerHarness harness_{OneSlot(), 64};
};

TEST_F(SchedulerOrder, PriorityThenSlackThenArrival) {
  const RequestHandle patient = Add(0);
  const RequestHandle distant = Add(0, absl::Hours(1));
  const RequestHandle relaxed = Add(0, absl::Seconds(50));
  const RequestHandle pressed = Add(0, absl::Seconds(5));
  const RequestHandle low = Add(-1, absl::Seconds(1));
  const RequestHandle high = Add(1);
  EXPECT_EQ(Order(), (Handles{high, pressed, relaxed, patient, distant, low}));
}

TEST_F(SchedulerOrder, ThoseWithDeadlinesDoNotStarveTheOthers) {
  const RequestHandle patient = Add(0);
  harness_.now += absl::Seconds(50);
  const RequestHandle early = Add(0, absl::Seconds(8));
  harness_.now += absl::Seconds(5);
  const RequestHandle late = Add(0, absl::Seconds(8));
  EXPECT_EQ(Order(), (Handles{early, patient, late}));
}

TEST_F(SchedulerOrder, AHigherPriorityDoesNotStarveALowerOne) {
  const RequestHandle low = Add(0);
  harness_.now += absl::Minutes(9);
  const RequestHandle high = Add(1);
  harness_.now += absl::Minutes(2);
  const RequestHandle later = Add(1);
  EXPECT_EQ(Order(), (Handles{high, low, later}));
}

TEST_F(SchedulerOrder, ADeadlineThatHasPassedIsRefused) {
  Add(0, absl::ZeroDuration());
  EXPECT_EQ(harness_.last_add.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(SchedulerOrder, WhatTheFastestStepsCannotReachIsRefused) {
  // Nothing is known yet.
  Add(0, absl::Microseconds(1), 200);
  EXPECT_TRUE(harness_.last_add.ok());
  harness_.Start();
  Add(0, absl::InfiniteDuration(), 128);
  harness_.RunAll();
  Add(0);
  // The best was 1 ms for 128 tokens: 200 take 1.56 ms at least.
  Add(0, absl::Microseconds(1500), 200);
  EXPECT_EQ(harness_.last_add.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(harness_.last_add.message().find("1.5ms"), absl::string_view::npos)
      << harness_.last_add;
  Add(0, absl::Microseconds(1600), 200);
  EXPECT_TRUE(harness_.last_add.ok()) << harness_.last_add;
}

TEST_F(SchedulerOrder, OneThatIsAloneIsRunHoweverHopelessItLooks) {
  harness_.Start();
  Add(0, absl::InfiniteDuration(), 128);
  harness_.RunAll();
  const RequestHandle alone = Add(0, absl::Microseconds(10), 200);
  EXPECT_TRUE(harness_.last_add.ok()) << harness_.last_add;
  harness_.RunAll();
  EXPECT_TRUE(harness_.outcome(alone).completion->status.ok());
}

TEST_F(SchedulerOrder, StepsThatReportLogitsSayNothingOfOthers) {
  harness_.Start();
  EngineRequest all = harness_.MakeRequest(128, 1);
  all.logits = worker::v1::LOGITS_ALL;
  harness_.Add(all);
  EngineRequest reported = harness_.MakeRequest(128, 1);
  reported.num_prompt_logprobs = 0;
  harness_.Add(reported);
  harness_.RunAll();
  Add(0);
  Add(0, absl::Microseconds(10), 200);
  EXPECT_TRUE(harness_.last_add.ok()) << harness_.last_add;
}

TEST_F(SchedulerOrder, WhatHasBecomeHopelessInTheQueueIsNotBegun) {
  harness_.Start();
  Add(0, absl::InfiniteDuration(), 128);
  harness_.RunAll();
  const RequestHandle hopeless = Add(0, absl::Milliseconds(10), 200);
  Add(-1);
  harness_.now += absl::Microseconds(8500);
  EXPECT_TRUE(harness_.Schedule().has_value());
  const Outcome& outcome = harness_.outcome(hopeless);
  ASSERT_TRUE(outcome.completion.has_value());
  EXPECT_EQ(outcome.completion->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(outcome.num_scheduled, 0);
}

}  // namespace
}  // namespace lockstep::server
