#include "worker/runtime/kv_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

WorkerConfig Config() {
  WorkerConfig config;
  config.block_size = 16;
  config.max_num_seqs = 4;
  config.max_model_len = 100;  // 7 blocks
  return config;
}

constexpr uint64_t kBlockBytes = 1000;

DeviceMemory Free(uint64_t bytes) { return {.total_bytes = 1 << 30, .free_bytes = bytes}; }

WorkerConfig GpuConfig() {
  WorkerConfig config = Config();
  config.device = "cuda";
  config.gpu_memory_utilization = 0.5;
  return config;
}

TEST(KvBudgetTest, TakesWhatAllSequencesNeedWhereMemoryIsPlenty) {
  EXPECT_EQ(ChooseNumKvBlocks(Config(), 2, kBlockBytes, Free(1 << 30)).value(), 28U);
}

TEST(KvBudgetTest, TakesTheRanksShareOfHalfTheMemoryWhereItIsNot) {
  EXPECT_EQ(ChooseNumKvBlocks(Config(), 2, kBlockBytes, Free(40'000)).value(), 10U);
}

TEST(KvBudgetTest, AGivenSizeIsUsedInFullOnEveryDevice) {
  for (WorkerConfig config : {Config(), GpuConfig()}) {
    config.kv_cache_bytes = 123'456;
    EXPECT_EQ(ChooseNumKvBlocks(config, 2, kBlockBytes, Free(1 << 30)).value(), 123U);
  }
}

TEST(KvBudgetTest, AGpuGivesItsShareLessWhatIsInUseWhateverTheSequencesNeed) {
  // Half of 200,000 is for Lockstep, 30,000 are in use.
  const DeviceMemory memory = {.total_bytes = 200'000, .free_bytes = 170'000};
  EXPECT_EQ(ChooseNumKvBlocks(GpuConfig(), 1, kBlockBytes, memory).value(), 70U);
  EXPECT_EQ(ChooseNumKvBlocks(GpuConfig(), 2, kBlockBytes, memory).value(), 35U)
      << "of a GPU that two ranks share";
}

TEST(KvBudgetTest, RefusesWhenNotOneSequenceFitsAndSaysWhatWould) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 3500;
  for (const auto& blocks : {ChooseNumKvBlocks(config, 1, kBlockBytes, Free(1 << 30)),
                             ChooseNumKvBlocks(Config(), 1, kBlockBytes, Free(7000)),
                             ChooseNumKvBlocks(GpuConfig(), 1, kBlockBytes,
                                               {.total_bytes = 100'000, .free_bytes = 53'900})}) {
    EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(blocks.status().message()),
                AllOf(HasSubstr("max_model_len = 100"), HasSubstr("7000 bytes"),
                      HasSubstr("48 tokens"), HasSubstr("lower max_model_len")));
  }
}

TEST(KvBudgetTest, AGpuThatIsFullAlreadySaysByWhatAndWhatWouldHelp) {
  const auto blocks =
      ChooseNumKvBlocks(GpuConfig(), 1, kBlockBytes, {.total_bytes = 100'000, .free_bytes = 1000});
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(blocks.status().message()),
              AllOf(HasSubstr("gpu_memory_utilization = 0.5"), HasSubstr("99000 in use"),
                    HasSubstr("0 tokens"), HasSubstr("tensor_parallel_size")));
}

TEST(KvBudgetTest, RefusesMoreThanThereIsAndSaysWhatWouldFit) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 50'000;
  const auto blocks = ChooseNumKvBlocks(config, 1, kBlockBytes, Free(40'000));
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(blocks.status().message()),
              AllOf(HasSubstr("50000"), HasSubstr("40000"), HasSubstr("640 tokens")));
}

}  // namespace
}  // namespace lockstep::worker
