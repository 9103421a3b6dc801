#include "worker/runtime/largest_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "tests/unit/worker/runtime/small_model.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;

TEST(LargestStepTest, HasAllTokensOfAStepInTheFewestPrefills) {
  EXPECT_THAT(
      LargestStepRows({.max_num_seqs = 3, .max_num_batched_tokens = 10, .max_model_len = 100}),
      ElementsAre(1, 1, 8));
  EXPECT_THAT(
      LargestStepRows({.max_num_seqs = 4, .max_num_batched_tokens = 10, .max_model_len = 5}),
      ElementsAre(1, 1, 4, 4));
  EXPECT_THAT(LargestStepRows({.max_num_seqs = 3, .max_num_batched_tokens = 3, .max_model_len = 5}),
              ElementsAre(1, 1, 1));
  EXPECT_THAT(
      LargestStepRows({.max_num_seqs = 1, .max_num_batched_tokens = 50, .max_model_len = 7}),
      ElementsAre(7));
  EXPECT_THAT(
      LargestStepRows({.max_num_seqs = 2, .max_num_batched_tokens = 50, .max_model_len = 1}),
      ElementsAre(1, 1));
}

TEST(LargestStepTest, KeepsToEveryLimit) {
  for (int64_t seqs = 1; seqs <= 7; ++seqs) {
    for (int64_t tokens = seqs; tokens <= 30; ++tokens) {
      for (int64_t length = 1; length <= 9; ++length) {
        const auto rows = LargestStepRows(
            {.max_num_seqs = seqs, .max_num_batched_tokens = tokens, .max_model_len = length});
        EXPECT_LE(static_cast<int64_t>(rows.size()), seqs);
        EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), int64_t{0}),
                  std::min(tokens, seqs * length));
        EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end()));
        EXPECT_GE(rows.front(), 1);
        EXPECT_LE(rows.back(), length);
      }
    }
  }
}

TEST(LargestStepTest, RunsOnOneRankAlone) {
  const SmallModel model;
  auto config = LoadLlamaConfig(model.directory());
  ASSERT_TRUE(config.ok()) << config.status();
  const auto checkpoint = Checkpoint::Open(model.directory(), *config);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto context = KernelContext::Create({});
  ASSERT_TRUE(context.ok()) << context.status();
  CpuDevice device;
  for (const auto& [rank, world_size] : {std::pair{0, 1}, {0, 2}, {1, 2}}) {
    const ShardPlan plan = MakeShardPlan(*config, rank, world_size);
    const ModelOptions options = {.max_num_tokens = 200};
    LlamaModel llama(*config, *checkpoint, plan, options, **context, nullptr);
    const StepLimits limits = {
        .max_num_seqs = 70, .max_num_batched_tokens = 200, .max_model_len = 100};
    StepInputs inputs(device, {.num_tokens = 200, .num_sequences = 70, .num_logit_rows = 200}, 13);
    const absl::Status status =
        RunLargestStep(llama, CacheGeometry(*config, plan, options, 8), limits, rank, world_size,
                       inputs, device, absl::Seconds(60));
    EXPECT_TRUE(status.ok()) << status;
  }
}

}  // namespace
}  // namespace lockstep::worker
