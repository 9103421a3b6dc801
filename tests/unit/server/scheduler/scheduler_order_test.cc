// Who goes first, and who is not begun at all.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

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

// A prompt of many steps has begun when others come.
class SchedulerOrderDuringAPrefill : public ::testing::Test {
 protected:
  SchedulerOrderDuringAPrefill() {
    harness_.Start();
    long_prompt_ = Add(0, 200);
    EXPECT_EQ(Step(), (Rows{{long_prompt_, 16}}));
  }

  RequestHandle Add(int32_t priority, int32_t num_prompt_tokens,
                    absl::Duration deadline = absl::InfiniteDuration()) {
    EngineRequest request = harness_.MakeRequest(num_prompt_tokens, 1);
    request.priority = priority;
    request.deadline = harness_.now + deadline;
    const RequestHandle handle = harness_.Add(request);
    by_prompt_[request.prompt] = handle;
    return handle;
  }

  // Runs a step, and says how many tokens of which requests it has, in their order.
  using Rows = std::vector<std::pair<RequestHandle, uint32_t>>;
  Rows Step() {
    const worker::v1::StepPlan plan = *harness_.Schedule();
    for (const worker::v1::AdmittedSlot& slot : plan.admitted()) {
      handles_[slot.slot()] = by_prompt_.at({slot.token_ids().begin(), slot.token_ids().end()});
    }
    Rows rows;
    for (const worker::v1::ScheduledSlot& row : plan.scheduled()) {
      rows.emplace_back(handles_.at(row.slot()), row.num_tokens());
    }
    harness_.Apply();
    return rows;
  }

  static SchedulerOptions Options() {
    SchedulerOptions options = SmallOptions();
    options.max_model_len = 256;
    options.max_steps_in_flight = 1;
    return options;
  }

  SchedulerHarness harness_{Options(), 64};
  RequestHandle long_prompt_ = 0;
  std::map<std::vector<int32_t>, RequestHandle> by_prompt_;
  std::map<uint32_t, RequestHandle> handles_;  // by slot
};

TEST_F(SchedulerOrderDuringAPrefill, AHigherPriorityGoesFirstAndLeavesItTheRest) {
  const RequestHandle high = Add(1, 20);
  EXPECT_EQ(Step(), (Rows{{high, 16}}));
  EXPECT_EQ(Step(), (Rows{{high, 4}, {long_prompt_, 12}}));
  EXPECT_TRUE(harness_.outcome(high).completion.has_value());
  EXPECT_EQ(Step(), (Rows{{long_prompt_, 16}}));
}

TEST_F(SchedulerOrderDuringAPrefill, ASmallerSlackGoesFirst) {
  const RequestHandle pressed = Add(0, 4, absl::Seconds(5));
  EXPECT_EQ(Step(), (Rows{{pressed, 4}, {long_prompt_, 12}}));
}

TEST_F(SchedulerOrderDuringAPrefill, ALaterOneOfTheSamePriorityWaits) {
  Add(0, 4);
  EXPECT_EQ(Step(), (Rows{{long_prompt_, 16}}));
}

TEST_F(SchedulerOrderDuringAPrefill, ThoseThatComeAfterItsTurnWait) {
  harness_.now += absl::Minutes(11);
  Add(1, 4);
  Add(0, 4, absl::Seconds(5));
  EXPECT_EQ(Step(), (Rows{{long_prompt_, 16}}));
}

TEST_F(SchedulerOrderDuringAPrefill, OneThatWaitsGoesBetweenTwoThatHaveBegun) {
  const RequestHandle high = Add(2, 40);
  EXPECT_EQ(Step(), (Rows{{high, 16}}));
  const RequestHandle between = Add(1, 4);
  EXPECT_EQ(Step(), (Rows{{high, 16}}));
  EXPECT_EQ(Step(), (Rows{{high, 8}, {between, 4}, {long_prompt_, 4}}));
}

TEST_F(SchedulerOrderDuringAPrefill, OneThatDoesNotFitBesideItLeavesItTheStep) {
  Add(2, 100);
  Add(1, 4);
  EXPECT_EQ(Step(), (Rows{{long_prompt_, 16}}));
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
