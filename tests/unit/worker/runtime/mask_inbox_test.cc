#include "worker/runtime/mask_inbox.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"
#include "tests/parity/model/rank_threads.h"
#include "tests/testing/wall_clock.h"
#include "tests/unit/worker/runtime/small_model.h"

namespace lockstep::worker {
namespace {

using testing::RankThreads;
using testing::SmallWorkerConfig;

constexpr absl::Duration kPatience = absl::Seconds(60);

TEST(MaskInboxTest, GivesAStepItsMasksAndDropsEarlierOnes) {
  MaskInbox inbox;
  inbox.Add({.step = 2, .masks = {{.slot = 1, .allowed = {5}}}});
  inbox.Add({.step = 4, .masks = {{.slot = 2, .allowed = {6}}}});
  const auto masks = inbox.Wait(4, kPatience);
  ASSERT_TRUE(masks.ok()) << masks.status();
  ASSERT_EQ(masks->masks.size(), 1U);
  EXPECT_EQ(masks->masks[0].slot, 2U);
}

TEST(MaskInboxTest, WaitsForThem) {
  MaskInbox inbox;
  std::thread sender([&] { inbox.Add({.step = 1, .masks = {}}); });
  EXPECT_TRUE(inbox.Wait(1, kPatience).ok());
  sender.join();
}

TEST(MaskInboxTest, AStepOfTheWallClockIsNoTimeout) {
  MaskInbox inbox;
  std::thread sender([&] {
    absl::SleepFor(absl::Milliseconds(50));
    testing::StepWallClock(absl::Hours(1));
    absl::SleepFor(absl::Milliseconds(50));
    inbox.Add({.step = 1, .masks = {}});
  });
  EXPECT_EQ(inbox.Wait(1, kPatience).status(), absl::OkStatus());
  sender.join();
  testing::StepWallClock(-absl::Hours(1));
}

TEST(MaskInboxTest, EveryWaitEnds) {
  MaskInbox inbox;
  EXPECT_EQ(inbox.Wait(1, absl::Milliseconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  inbox.Add({.step = 3, .masks = {}});
  EXPECT_EQ(inbox.Wait(2, kPatience).status().code(), absl::StatusCode::kInternal);
  inbox.Abort();
  EXPECT_EQ(inbox.Wait(5, kPatience).status().code(), absl::StatusCode::kCancelled);
}

// A prompt of two slots, the first of them guided.
StepPlan GuidedPlan() {
  StepPlan plan;
  for (uint32_t slot = 0; slot < 2; ++slot) {
    AdmittedSlot& admitted = plan.admitted.emplace_back();
    admitted.slot = slot;
    admitted.token_ids = {1, 2, 3, 4, 5};
    admitted.sampling.num_prompt_tokens = 5;
    admitted.sampling.temperature = 0.0F;
    plan.scheduled.push_back(
        {.slot = slot, .position = 0, .num_tokens = 5, .new_blocks = {slot}, .guided = slot == 0});
  }
  return plan;
}

TEST(MaskInboxTest, TheMaskReachesTheSamplerOnEveryRankCount) {
  const SmallModel model;
  for (const int world_size : {1, 2}) {
    auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), world_size);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    // The model has 96 tokens.
    (*ranks)->executor(0).AddMasks({.step = 1, .masks = {{.slot = 0, .allowed = {0, 1U << 9, 0}}}});
    const auto result = (*ranks)->Execute(GuidedPlan());
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->sampled.size(), 2U);
    EXPECT_EQ(result->sampled[0].token_id, 41U);
    EXPECT_NE(result->sampled[1].token_id, 41U);
  }
}

TEST(MaskInboxTest, AMaskOfTheWrongSizeIsAnError) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 1);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  (*ranks)->executor(0).AddMasks({.step = 1, .masks = {{.slot = 0, .allowed = {1}}}});
  EXPECT_EQ((*ranks)->Execute(GuidedPlan()).status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace lockstep::worker
