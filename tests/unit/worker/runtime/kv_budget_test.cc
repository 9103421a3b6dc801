#include "worker/runtime/kv_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

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
                      HasSubstr("48 tokens"), HasSubstr("lower --max-model-len to 48, or ")));
  }
}

TEST(KvBudgetTest, AGpuThatIsFullAlreadySaysByWhatAndWhatWouldHelp) {
  const auto blocks =
      ChooseNumKvBlocks(GpuConfig(), 1, kBlockBytes, {.total_bytes = 100'000, .free_bytes = 1000});
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(blocks.status().message()),
              AllOf(HasSubstr("gpu_memory_utilization = 0.5"), HasSubstr("99000 in use"),
                    HasSubstr("0 tokens"), HasSubstr("--tensor-parallel-size")));
  EXPECT_THAT(std::string(blocks.status().message()), Not(HasSubstr("--max-model-len")))
      << "no length would fit";
}

TEST(KvBudgetTest, TheLengthThatIsNamedFits) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 3500;
  EXPECT_FALSE(ChooseNumKvBlocks(config, 1, kBlockBytes, Free(1 << 30)).ok());
  config.max_model_len = 48;
  EXPECT_EQ(ChooseNumKvBlocks(config, 1, kBlockBytes, Free(1 << 30)).value(), 3U);
  config.max_model_len = 49;
  EXPECT_FALSE(ChooseNumKvBlocks(config, 1, kBlockBytes, Free(1 << 30)).ok());
}

TEST(KvBudgetTest, WeightsThatAreStillToBeLoadedAreTakenOff) {
  // Half of 200,000 is for Lockstep, 30,000 are in use and 60,000 will be.
  const DeviceMemory gpu = {.total_bytes = 200'000, .free_bytes = 170'000};
  EXPECT_EQ(ChooseNumKvBlocks(GpuConfig(), 1, kBlockBytes, gpu, 60'000).value(), 10U);
  EXPECT_EQ(ChooseNumKvBlocks(Config(), 2, kBlockBytes, Free(100'000), 60'000).value(), 10U);
  WorkerConfig config = Config();
  config.kv_cache_bytes = 50'000;
  EXPECT_EQ(ChooseNumKvBlocks(config, 1, kBlockBytes, Free(100'000), 50'000).value(), 50U);
}

TEST(KvBudgetTest, WeightsThatLeaveTooLittleAreNamed) {
  const auto message = [](const WorkerConfig& config, const DeviceMemory& memory,
                          uint64_t weights) {
    return std::string(
        ChooseNumKvBlocks(config, 1, kBlockBytes, memory, weights).status().message());
  };
  EXPECT_THAT(
      message(GpuConfig(), {.total_bytes = 200'000, .free_bytes = 170'000}, 67'000),
      AllOf(HasSubstr("30000 in use and the weights' 67000"), HasSubstr("--max-model-len to 48")));
  EXPECT_THAT(message(Config(), Free(100'000), 94'000),
              AllOf(HasSubstr("3000 bytes beside the weights, which take 94000"),
                    HasSubstr("--max-model-len to 48")));
  WorkerConfig config = Config();
  config.kv_cache_bytes = 50'000;
  EXPECT_THAT(message(config, Free(100'000), 60'000),
              AllOf(HasSubstr("only 40000 bytes"), HasSubstr("which take 60000"),
                    HasSubstr("lower --kv-cache-memory to 40000")));
}

TEST(KvBudgetTest, RefusesMoreThanThereIsAndSaysWhatWouldFit) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 50'000;
  const auto blocks = ChooseNumKvBlocks(config, 1, kBlockBytes, Free(40'000));
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(blocks.status().message()),
              AllOf(HasSubstr("50000"), HasSubstr("only 40000"),
                    HasSubstr("--kv-cache-memory to 40000, which hold 640 tokens")));
}

TEST(KvBudgetTest, RanksThatShareADeviceMayNotTakeMoreThanThereIsTogether) {
  WorkerConfig config = Config();
  config.kv_cache_bytes = 30'000;
  EXPECT_EQ(ChooseNumKvBlocks(config, 2, kBlockBytes, Free(60'000)).value(), 30U);
  const auto blocks = ChooseNumKvBlocks(config, 2, kBlockBytes, Free(50'000));
  EXPECT_EQ(blocks.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(blocks.status().message()),
              AllOf(HasSubstr("only 25000"), HasSubstr("2 ranks"),
                    HasSubstr("--kv-cache-memory to 25000")));
}

}  // namespace
}  // namespace lockstep::worker
