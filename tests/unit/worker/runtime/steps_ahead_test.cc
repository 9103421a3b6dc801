// Steps that are begun while the one before is under way, tokens chosen on the device.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/parity/model/rank_threads.h"
#include "tests/testing/ahead_device.h"
#include "tests/unit/worker/runtime/small_model.h"
#include "worker/comm/local_communicator.h"
#include "worker/runtime/model_executor.h"

namespace lockstep::worker {
namespace {

using testing::AheadDevice;
using testing::GraphCounts;
using testing::RankThreads;
using testing::SmallWorkerConfig;

constexpr uint32_t kNumSlots = 5;

SamplingParameters Sampling(uint32_t slot) {
  SamplingParameters sampling;
  sampling.num_prompt_tokens = slot + 1;
  sampling.temperature = slot == 0 ? 0.0F : 0.8F;
  sampling.seed = 17 * slot;
  if (slot % 2 == 1) sampling.num_logprobs = 3;
  if (slot >= 2) sampling.top_p = 0.9F;
  if (slot >= 3) {  // what depends on all tokens, the one that only the device knows included
    sampling.repetition_penalty = 1.5F;
    sampling.frequency_penalty = 0.7F;
  }
  return sampling;
}

AdmittedSlot Admit(uint32_t slot) {
  AdmittedSlot admitted;
  admitted.slot = slot;
  for (uint32_t i = 0; i <= slot; ++i) admitted.token_ids.push_back(7 * i + slot);
  admitted.sampling = Sampling(slot);
  return admitted;
}

// Five sequences, of which two end and make room for others in the step that follows, so that the
// last token of the one comes when the slot has the other.
std::vector<StepPlan> Plans() {
  std::vector<StepPlan> plans(1);
  std::vector<uint32_t> length(kNumSlots);
  for (uint32_t slot = 0; slot < kNumSlots; ++slot) {
    plans[0].admitted.push_back(Admit(slot));
    plans[0].scheduled.push_back({.slot = slot,
                                  .num_tokens = slot + 1,
                                  .new_blocks = {3 * slot, 3 * slot + 1, 3 * slot + 2}});
    length[slot] = slot + 1;
  }
  for (int step = 1; step < 14; ++step) {
    StepPlan& plan = plans.emplace_back();
    for (uint32_t slot = 0; slot < kNumSlots; ++slot) {
      const bool is_replaced = (step == 5 && slot == 1) || (step == 9 && slot == 3);
      if (is_replaced) {
        plan.released_slots.push_back(slot);
        plan.admitted.push_back(Admit(slot));
        plan.admitted.back().sampling.seed += 1000;
        length[slot] = slot + 1;
        continue;
      }
      plan.scheduled.push_back(
          {.slot = slot, .position = length[slot]++, .num_tokens = 1, .new_blocks = {}});
    }
    for (const AdmittedSlot& admitted : plan.admitted) {
      const uint32_t slot = admitted.slot;
      plan.scheduled.push_back({.slot = slot,
                                .num_tokens = slot + 1,
                                .new_blocks = {3 * slot, 3 * slot + 1, 3 * slot + 2}});
    }
  }
  return plans;
}

class StepsAheadTest : public ::testing::Test {
 protected:
  std::unique_ptr<RankThreads> StartAhead(int world_size) {
    auto ranks = RankThreads::Start(config_, world_size, [this] {
      return std::make_unique<ModelExecutor>(
          [this](const std::string&, LocalRank) { return std::make_unique<AheadDevice>(counts_); });
    });
    EXPECT_TRUE(ranks.ok()) << ranks.status();
    return ranks.ok() ? *std::move(ranks) : nullptr;
  }

  const SmallModel model_;
  GraphCounts counts_;
  WorkerConfig config_ = SmallWorkerConfig(model_.directory());
};

void ExpectSame(const StepResult& actual, const StepResult& expected) {
  ASSERT_EQ(actual.sampled.size(), expected.sampled.size());
  for (size_t i = 0; i < expected.sampled.size(); ++i) {
    const SampledToken& a = actual.sampled[i];
    const SampledToken& e = expected.sampled[i];
    SCOPED_TRACE(absl::StrCat("slot ", e.slot));
    EXPECT_EQ(a.slot, e.slot);
    EXPECT_EQ(a.position, e.position);
    EXPECT_EQ(a.token_id, e.token_id);
    EXPECT_NEAR(a.logprob, e.logprob, 1e-5);
    EXPECT_EQ(a.rank, e.rank);
    ASSERT_EQ(a.top.size(), e.top.size());
    for (size_t j = 0; j < e.top.size(); ++j) EXPECT_EQ(a.top[j].token_id, e.top[j].token_id);
  }
}

void ExpectSameLogits(const StepResult& actual, const StepResult& expected) {
  ASSERT_EQ(actual.logits.size(), expected.logits.size());
  for (size_t i = 0; i < expected.logits.size(); ++i) {
    EXPECT_EQ(actual.logits[i].slot, expected.logits[i].slot);
    EXPECT_EQ(actual.logits[i].position, expected.logits[i].position);
    EXPECT_EQ(actual.logits[i].logits, expected.logits[i].logits);
  }
}

TEST_F(StepsAheadTest, ChooseTheTokensThatStepsOneByOneDoOnTheHost) {
  for (const int world_size : {1, 2}) {
    SCOPED_TRACE(absl::StrCat(world_size, " ranks"));
    auto one_by_one = RankThreads::Start(config_, world_size);
    ASSERT_TRUE(one_by_one.ok()) << one_by_one.status();
    const auto ahead = StartAhead(world_size);
    EXPECT_EQ(ahead->executor(0).max_steps_under_way(), 2);
    const auto results = ahead->ExecuteAhead(Plans());
    ASSERT_TRUE(results.ok()) << results.status();
    const std::vector<StepPlan> plans = Plans();
    for (size_t i = 0; i < plans.size(); ++i) {
      SCOPED_TRACE(absl::StrCat("step ", i + 1));
      const auto expected = (*one_by_one)->Execute(plans[i]);
      ASSERT_TRUE(expected.ok()) << expected.status();
      ExpectSame((*results)[i], *expected);
      EXPECT_EQ((*results)[i].state_hash, expected->state_hash);
    }
    EXPECT_GT(counts_.num_replayed, 0);
  }
}

TEST_F(StepsAheadTest, AStepThatReportsLogitsOrIsGuidedNeedsTheOnesBeforeIt) {
  const auto ranks = StartAhead(1);
  StepPlan plan;
  plan.admitted.push_back(Admit(0));
  plan.scheduled.push_back({.slot = 0, .num_tokens = 1, .new_blocks = {0}});
  EXPECT_FALSE(ranks->executor(0).NeedsFinishedSteps(plan));
  plan.admitted[0].logits = LogitsRequest::kAll;
  EXPECT_TRUE(ranks->executor(0).NeedsFinishedSteps(plan));
  plan.admitted[0] = Admit(0);
  plan.scheduled[0].guided = true;
  EXPECT_TRUE(ranks->executor(0).NeedsFinishedSteps(plan));
}

TEST_F(StepsAheadTest, PromptLogprobsNeedTheStepsBeforeOnlyWhileThePromptRuns) {
  const auto ranks = StartAhead(1);
  const StepExecutor& executor = ranks->executor(0);
  StepPlan plan;
  plan.admitted.push_back(Admit(2));  // 3 tokens of prompt
  plan.admitted[0].num_prompt_logprobs = 0;
  plan.scheduled.push_back({.slot = 2, .num_tokens = 2, .new_blocks = {0}});
  EXPECT_TRUE(executor.NeedsFinishedSteps(plan));
  ASSERT_TRUE(ranks->Execute(plan).ok());
  plan.admitted.clear();
  // The prompt's last token, which has none of the prompt behind it, and a generated one.
  for (const uint32_t position : {2, 3}) {
    plan.scheduled[0] = {.slot = 2, .position = position, .num_tokens = 1, .new_blocks = {}};
    EXPECT_FALSE(executor.NeedsFinishedSteps(plan)) << "position " << position;
    const auto result = ranks->Execute(plan);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result->prompt_tokens.empty());
    EXPECT_EQ(result->sampled.size(), 1U);
  }
  // Computed again after it had to make room: the prompt is reported again, what was generated is
  // not.
  plan.released_slots = {2};
  plan.admitted.push_back(Admit(2));
  plan.admitted[0].token_ids.push_back(11);
  plan.admitted[0].num_prompt_logprobs = 0;
  plan.scheduled[0] = {.slot = 2, .num_tokens = 2, .new_blocks = {0}};
  EXPECT_TRUE(executor.NeedsFinishedSteps(plan));
  plan.scheduled[0].position = 2;
  EXPECT_FALSE(executor.NeedsFinishedSteps(plan));
}

// A forward pass of the tokens 5 to 8 in a slot of its own.
AdmittedSlot Forward(uint32_t slot, LogitsRequest logits) {
  AdmittedSlot forward;
  forward.slot = slot;
  forward.token_ids = {5, 6, 7, 8};
  forward.logits = logits;
  return forward;
}

TEST_F(StepsAheadTest, LastLogitsNeedOnlyThatNobodySamplesBesideThem) {
  const auto ranks = StartAhead(1);
  StepPlan plan;
  plan.admitted.push_back(Forward(0, LogitsRequest::kLast));
  plan.scheduled.push_back({.slot = 0, .num_tokens = 4, .new_blocks = {0}});
  EXPECT_FALSE(ranks->executor(0).NeedsFinishedSteps(plan));
  plan.admitted.push_back(Admit(1));
  plan.scheduled.push_back({.slot = 1, .num_tokens = 2, .new_blocks = {1}});
  EXPECT_TRUE(ranks->executor(0).NeedsFinishedSteps(plan));
}

TEST_F(StepsAheadTest, StepsOfLastLogitsAreUnderWayTogether) {
  // Each with one whole prompt and, in parts, another.
  std::vector<StepPlan> plans(6);
  for (uint32_t step = 0; step < plans.size(); ++step) {
    StepPlan& plan = plans[step];
    const uint32_t slot = step % 2;
    if (step >= 2) plan.released_slots.push_back(slot);
    plan.admitted.push_back(Forward(slot, LogitsRequest::kLast));
    plan.admitted.back().token_ids[1] += step;
    if (step == 0) plan.admitted.push_back(Forward(2, LogitsRequest::kLast));
    if (step < 4) {
      plan.scheduled.push_back({.slot = 2, .position = step, .num_tokens = 1, .new_blocks = {}});
      if (step == 0) plan.scheduled.back().new_blocks = {5};
    }
    plan.scheduled.push_back({.slot = slot, .num_tokens = 4, .new_blocks = {slot}});
  }
  for (const int world_size : {1, 2}) {
    SCOPED_TRACE(absl::StrCat(world_size, " ranks"));
    auto one_by_one = RankThreads::Start(config_, world_size);
    ASSERT_TRUE(one_by_one.ok()) << one_by_one.status();
    const auto results = StartAhead(world_size)->ExecuteAhead(plans);
    ASSERT_TRUE(results.ok()) << results.status();
    for (size_t i = 0; i < plans.size(); ++i) {
      SCOPED_TRACE(absl::StrCat("step ", i + 1));
      const auto expected = (*one_by_one)->Execute(plans[i]);
      ASSERT_TRUE(expected.ok()) << expected.status();
      ASSERT_EQ((*results)[i].logits.size(), i == 3 ? 2U : 1U);
      ExpectSameLogits((*results)[i], *expected);
      EXPECT_EQ((*results)[i].state_hash, expected->state_hash);
    }
  }
}

TEST_F(StepsAheadTest, StepsThatReportLogitsGoAmongOthers) {
  std::vector<StepPlan> plans = Plans();
  // In two chunks.
  plans[3].admitted.push_back(Forward(kNumSlots, LogitsRequest::kAll));
  plans[3].scheduled.push_back({.slot = kNumSlots, .num_tokens = 3, .new_blocks = {20}});
  plans[4].scheduled.push_back(
      {.slot = kNumSlots, .position = 3, .num_tokens = 1, .new_blocks = {}});
  plans[5].released_slots.push_back(kNumSlots);
  auto one_by_one = RankThreads::Start(config_, 1);
  ASSERT_TRUE(one_by_one.ok()) << one_by_one.status();
  const auto results = StartAhead(1)->ExecuteAhead(plans);
  ASSERT_TRUE(results.ok()) << results.status();
  for (size_t i = 0; i < plans.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("step ", i + 1));
    const auto expected = (*one_by_one)->Execute(plans[i]);
    ASSERT_TRUE(expected.ok()) << expected.status();
    ExpectSame((*results)[i], *expected);
    ExpectSameLogits((*results)[i], *expected);
  }
}

TEST_F(StepsAheadTest, MasksReachTheDevice) {
  for (const int world_size : {1, 2}) {
    const auto ranks = StartAhead(world_size);
    StepPlan plan;
    for (uint32_t slot = 0; slot < 2; ++slot) {
      plan.admitted.push_back(Admit(slot));
      plan.scheduled.push_back(
          {.slot = slot, .num_tokens = slot + 1, .new_blocks = {slot}, .guided = slot == 0});
    }
    // The model has 96 tokens.
    ranks->executor(0).AddMasks({.step = 1, .masks = {{.slot = 0, .allowed = {0, 1U << 9, 0}}}});
    const auto result = ranks->Execute(plan);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->sampled[0].token_id, 41U);
    EXPECT_NE(result->sampled[1].token_id, 41U);
  }
}

TEST_F(StepsAheadTest, EachStepIsToldOfOnceItIsDone) {
  std::atomic<int> num_done = 0;
  auto ranks = RankThreads::Start(config_, 1, [&]() -> std::unique_ptr<StepExecutor> {
    auto executor = std::make_unique<ModelExecutor>(
        [this](const std::string&, LocalRank) { return std::make_unique<AheadDevice>(counts_); });
    executor->OnStepDone([&num_done] { ++num_done; });
    return executor;
  });
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  const std::vector<StepPlan> plans = Plans();
  ASSERT_TRUE((*ranks)->ExecuteAhead(plans).ok());
  EXPECT_EQ(num_done, static_cast<int>(plans.size()));
}

// A device that never comes to its marks.
class StuckDevice : public AheadDevice {
 public:
  using AheadDevice::AheadDevice;
  absl::StatusOr<std::shared_ptr<StreamMark>> Mark(std::function<void()>) override {
    return std::make_shared<StreamMark>();
  }
  absl::Status Check() override { return status; }

  absl::Status status;
};

TEST(WaitForADeviceTest, EndsWithTheDeadlineTheDevicesFailureOrAnAbort) {
  GraphCounts counts;
  StuckDevice device(counts);
  // Of a rank without peers too.
  LocalCommunicator communicator(device, absl::Milliseconds(1));
  const auto waits = [&] {
    return std::vector<absl::Status>{communicator.Wait(),
                                     communicator.WaitForMark(**device.Mark({}))};
  };
  for (const absl::Status& status : waits()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(status.message(), "rank 0 waited 1ms for cpu");
  }
  device.status = absl::InternalError("an illegal address");
  for (const absl::Status& status : waits()) EXPECT_EQ(status, device.status);
  communicator.Abort();
  for (const absl::Status& status : waits()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  }
}

}  // namespace
}  // namespace lockstep::worker
