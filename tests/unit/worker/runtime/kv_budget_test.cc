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

TEST(KvBudgetTest, TakesWhatAllSequencesNeedWhereMemoryIsPlenty) {
  EXPECT_EQ(ChooseNumKvBlocks(Config(), 2, kBlockBytes, 1 << 30).value(), 28U);
}

TEST(KvBudgetTest, TakesTheRanksShareOfHalfTheMemoryWhereItIsNot) {
  EXPECT_EQ(ChooseNumKvBlocks(Config(), 2, kBlockBytes, 40'000).value(), 10U);
}

TEST(KvBudgetTest, AGivenSizeIsUsedInFull) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 123'456;
  EXPECT_EQ(ChooseNumKvBlocks(config, 2, kBlockBytes, 1 << 30).value(), 123U);
}

TEST(KvBudgetTest, RefusesWhenNotOneSequenceFitsAndSaysWhatWould) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 3500;
  for (const auto& blocks : {ChooseNumKvBlocks(config, 1, kBlockBytes, 1 << 30),
                             ChooseNumKvBlocks(Config(), 1, kBlockBytes, 7000)}) {
    EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(
        std::string(blocks.status().message()),
        AllOf(HasSubstr("max_model_len = 100"), HasSubstr("7000 bytes"), HasSubstr("48 tokens")));
  }
}

TEST(KvBudgetTest, RefusesMoreThanThereIs) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 50'000;
  const auto blocks = ChooseNumKvBlocks(config, 1, kBlockBytes, 40'000);
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(blocks.status().message()),
              AllOf(HasSubstr("50000"), HasSubstr("40000")));
}

TEST(KvBudgetTest, TheMachineHasMemory) { EXPECT_GT(AvailableHostMemory(), uint64_t{1} << 20); }

}  // namespace
}  // namespace lockstep::worker
