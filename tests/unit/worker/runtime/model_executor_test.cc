#include "worker/runtime/model_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "tests/parity/model/rank_threads.h"
#include "tests/unit/worker/runtime/small_model.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/device/cpu_device.h"
#include "worker/runtime/logit_blocks.h"

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using testing::RankThreads;
using ::testing::SizeIs;
using testing::SmallWorkerConfig;

StepPlan PromptPlan(LogitsRequest logits) {
  StepPlan plan;
  AdmittedSlot& admitted = plan.admitted.emplace_back();
  admitted.token_ids = {1, 2, 3, 4, 5};
  admitted.sampling.num_prompt_tokens = 5;
  admitted.sampling.temperature = 0.0F;
  admitted.logits = logits;
  plan.scheduled.push_back({.slot = 0, .position = 0, .num_tokens = 5, .new_blocks = {0}});
  return plan;
}

absl::Status LoadError(const WorkerConfig& config, int world_size = 1) {
  return MakeStepExecutor()->Load(config, 0, world_size, nullptr).status();
}

TEST(ModelExecutorTest, ReportsTheRanksShareOfTheWeightsAndProgressToTheEnd) {
  const SmallModel model;
  for (const int world_size : {1, 2}) {
    uint64_t last_done = 0;
    uint64_t last_total = 1;
    const auto loaded = MakeStepExecutor()->Load(SmallWorkerConfig(model.directory()), 0,
                                                 world_size, [&](uint64_t done, uint64_t total) {
                                                   EXPECT_GE(done, last_done);
                                                   last_done = done;
                                                   last_total = total;
                                                 });
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(last_done, last_total);
    // 2 layers x (keys + values) x KV heads of the rank x head size x block size x float32
    EXPECT_EQ(loaded->kv_block_bytes, 2U * 2U * (2U / world_size) * 8U * 8U * 4U);
    EXPECT_EQ(loaded->num_kv_blocks, 8U * 512U / 8U);
    EXPECT_THAT(loaded->device_description, HasSubstr("1 thread"));
  }
}

TEST(ModelExecutorTest, RefusesACheckpointThatIsNotTheFrontends) {
  const SmallModel model;
  WorkerConfig config = SmallWorkerConfig(model.directory());
  auto llama = LoadLlamaConfig(model.directory());
  const auto checkpoint = Checkpoint::Open(model.directory(), *llama);
  config.checkpoint_fingerprint = Fingerprint(model.directory(), *llama, *checkpoint);
  EXPECT_EQ(LoadError(config), absl::OkStatus());
  config.checkpoint_fingerprint += 1;
  const absl::Status status = LoadError(config);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(model.directory().string()), HasSubstr("is not the checkpoint")));
}

TEST(ModelExecutorTest, RefusesAConfigurationThatItCannotCarryOut) {
  const SmallModel model;
  const auto expect = [&](auto change, const char* what) {
    WorkerConfig config = SmallWorkerConfig(model.directory());
    change(config);
    const absl::Status status = LoadError(config);
    EXPECT_FALSE(status.ok()) << what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  expect([](auto& config) { config.dtype = "int8"; }, "int8");
  expect([](auto& config) { config.device = "tpu"; }, "tpu");
  expect([](auto& config) { config.gpu_memory_utilization = 1.0; }, "gpu_memory_utilization is 1");
  expect([](auto& config) { config.max_num_batched_tokens = 7; }, "max_num_batched_tokens is 7");
  expect([](auto& config) { config.block_size = 12; }, "12");
  expect([](auto& config) { config.model_dir = "/nonexistent"; }, "/nonexistent");
  expect([](auto& config) { config.max_num_seqs = 0; }, "max_num_seqs");
  expect([](auto& config) { config.kv_cache_bytes = 100; }, "kv_cache_bytes");
  EXPECT_THAT(std::string(LoadError(SmallWorkerConfig(model.directory()), 3).message()),
              HasSubstr("3"));
}

TEST(ModelExecutorTest, AKvCacheThatIsTooSmallIsRefusedBeforeAnyWeightIsRead) {
  const SmallModel model;
  WorkerConfig config = SmallWorkerConfig(model.directory());
  config.kv_cache_bytes = 1 << 12;
  int num_calls = 0;
  const auto loaded =
      MakeStepExecutor()->Load(config, 0, 1, [&](uint64_t, uint64_t) { ++num_calls; });
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("kv_cache_bytes = 4096"));
  EXPECT_EQ(num_calls, 0);
}

// A processor with as much memory as a test says.
class SmallDevice : public CpuDevice {
 public:
  explicit SmallDevice(uint64_t free_bytes) : free_bytes_(free_bytes) {}
  absl::StatusOr<DeviceMemory> Memory() const override {
    return DeviceMemory{.total_bytes = 1 << 30, .free_bytes = free_bytes_};
  }

 private:
  const uint64_t free_bytes_;
};

TEST(ModelExecutorTest, MemoryThatDoesNotHoldWeightsAndCacheIsSaidBeforeAnyWeightIsRead) {
  const SmallModel model;
  int num_calls = 0;
  const auto load = [&](uint64_t free_bytes) {
    ModelExecutor executor(
        [&](const std::string&, LocalRank) { return std::make_unique<SmallDevice>(free_bytes); });
    const absl::Status status = executor
                                    .Load(SmallWorkerConfig(model.directory()), 0, 1,
                                          [&](uint64_t, uint64_t) { ++num_calls; })
                                    .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    return std::string(status.message());
  };
  const uint64_t weights = std::filesystem::file_size(model.directory() / "model.safetensors");
  EXPECT_THAT(load(weights / 2), HasSubstr("rank 0's share of the weights takes"));
  // Half of what the weights leave is for the cache, of which 8 tokens take 2 KiB.
  EXPECT_THAT(load(weights + (16 << 10)), HasSubstr("lower --max-model-len to 32, or"));
  EXPECT_EQ(num_calls, 0);
}

TEST(ModelExecutorTest, TellsWhatEachPhaseOfTheStartTook) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 2);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  std::vector<std::string> names;
  for (const StartPhase& phase : (*ranks)->executor(1).start_phases()) {
    names.push_back(phase.name);
    EXPECT_GE(phase.duration.count(), 0);
  }
  EXPECT_THAT(names, ElementsAre("device", "configuration", "weights", "profile", "communicator",
                                 "kv_cache", "self_test", "graphs"));
}

TEST(ModelExecutorTest, LogitsOfTheLastPositionAreTheLastRowOfAll) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 2);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  const auto all = (*ranks)->Execute(PromptPlan(LogitsRequest::kAll));
  ASSERT_TRUE(all.ok()) << all.status();
  StepPlan again = PromptPlan(LogitsRequest::kLast);
  again.released_slots = {0};
  const auto last = (*ranks)->Execute(again);
  ASSERT_TRUE(last.ok()) << last.status();
  ASSERT_EQ(all->logits.size(), 1U);
  ASSERT_EQ(last->logits.size(), 1U);
  EXPECT_TRUE(all->sampled.empty());
  EXPECT_EQ(all->logits[0].num_rows, 5U);
  EXPECT_EQ(last->logits[0].num_rows, 1U);
  EXPECT_EQ(last->logits[0].position, 4U);
  EXPECT_THAT(last->logits[0].logits, SizeIs(96));
  const auto last_row = all->logits[0].logits.begin() + 4 * 96;
  EXPECT_THAT(last->logits[0].logits, ElementsAreArray(last_row, all->logits[0].logits.end()));
}

// Of so many rows each rank normalizes some; the last one's residual stream is where it was.
TEST(ModelExecutorTest, TheLastRowOfManyIsTheSameAloneAndOnAnyNumberOfRanks) {
  const SmallModel model;
  constexpr uint32_t kNumTokens = 200;
  StepPlan whole = PromptPlan(LogitsRequest::kAll);
  whole.admitted[0].token_ids.clear();
  for (uint32_t i = 0; i < kNumTokens; ++i) whole.admitted[0].token_ids.push_back(i * 7 % 96);
  whole.scheduled[0].num_tokens = kNumTokens;
  whole.scheduled[0].new_blocks.clear();
  for (uint32_t block = 0; block < kNumTokens / 8; ++block) {
    whole.scheduled[0].new_blocks.push_back(block);
  }
  StepPlan last = whole;
  last.admitted[0].logits = LogitsRequest::kLast;
  last.released_slots = {0};
  std::vector<float> on_one_rank;
  for (const int world_size : {1, 2, 4}) {
    auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), world_size);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    const auto all = (*ranks)->Execute(whole);
    ASSERT_TRUE(all.ok()) << all.status();
    const auto alone = (*ranks)->Execute(last);
    ASSERT_TRUE(alone.ok()) << alone.status();
    const auto& rows = all->logits[0].logits;
    EXPECT_THAT(alone->logits[0].logits, ElementsAreArray(rows.end() - 96, rows.end()));
    if (world_size == 1) on_one_rank.assign(rows.begin(), rows.end());
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_NEAR(rows[i], on_one_rank[i], 1e-4) << world_size << " ranks, logit " << i;
    }
  }
}

TEST(ModelExecutorTest, LogitsAreTheSameWhetherEachRankReportsItsOwnOrTheyAreGathered) {
  const SmallModel model;
  constexpr uint32_t kNumTokens = 2 * kMinShardedRows;
  StepPlan whole = PromptPlan(LogitsRequest::kAll);
  whole.admitted[0].token_ids.assign(kNumTokens, 7);
  whole.scheduled[0].num_tokens = kNumTokens;
  whole.scheduled[0].new_blocks.clear();
  for (uint32_t block = 0; block < kNumTokens / 8; ++block) {
    whole.scheduled[0].new_blocks.push_back(block);
  }
  for (const int world_size : {1, 2}) {
    auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), world_size);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    const auto sent = (*ranks)->Execute(whole);
    ASSERT_TRUE(sent.ok()) << sent.status();
    ASSERT_THAT(sent->logits, SizeIs(1));
    ASSERT_THAT(sent->logits[0].logits, SizeIs(kNumTokens * 96));

    // The same in steps of too few rows.
    constexpr uint32_t kFewRows = kMinShardedRows / 2;
    std::vector<float> copied;
    for (uint32_t position = 0; position < kNumTokens; position += kFewRows) {
      StepPlan part = position == 0 ? whole : StepPlan();
      if (position == 0) part.released_slots = {0};
      part.scheduled = {whole.scheduled[0]};
      part.scheduled[0].position = position;
      part.scheduled[0].num_tokens = kFewRows;
      if (position > 0) part.scheduled[0].new_blocks.clear();
      const auto result = (*ranks)->Execute(part);
      ASSERT_TRUE(result.ok()) << result.status();
      const auto& rows = result->logits[0].logits;
      copied.insert(copied.end(), rows.begin(), rows.end());
    }
    EXPECT_THAT(sent->logits[0].logits, ElementsAreArray(copied));
  }
}

TEST(ModelExecutorTest, AStepWithoutTokensIsAnswered) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 2);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  const auto result = (*ranks)->Execute(StepPlan());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->step, 1U);
}

TEST(ModelExecutorTest, AMalformedPlanFailsAllRanksWithTheReason) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 2);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  StepPlan plan = PromptPlan(LogitsRequest::kNone);
  plan.scheduled[0].new_blocks = {4'000'000'000};
  const auto result = (*ranks)->Execute(plan);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("4000000000"));
}

TEST(ModelExecutorTest, AnOptionOutOfItsRangeIsRefusedAndNamed) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 1);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  StepPlan plan = PromptPlan(LogitsRequest::kNone);
  plan.admitted[0].sampling.repetition_penalty = -1.3F;
  const auto result = (*ranks)->Execute(plan);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("repetition_penalty"));
}

TEST(ModelExecutorTest, ARankThatWaitsForAPeerIsWokenByAbort) {
  const SmallModel model;
  auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 2);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  StepPlan plan = PromptPlan(LogitsRequest::kNone);
  plan.step = 1;
  absl::Status status;
  std::thread waiting([&] { status = (*ranks)->executor(0).Execute(plan).status(); });
  (*ranks)->executor(1).Abort();  // instead of its part
  waiting.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1"));
}

TEST(ModelExecutorTest, WeightsThatGiveNoFiniteLogitsFailAtTheStart) {
  const SmallModel model;
  // The last tensor of the file is the head: one NaN in its first row.
  std::fstream file(model.directory() / "model.safetensors",
                    std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-static_cast<std::streamoff>(96 * 32 * sizeof(float)), std::ios::end);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  file.write(reinterpret_cast<const char*>(&nan), sizeof(nan));
  file.close();
  const auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 2);
  EXPECT_EQ(ranks.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(ranks.status().message()),
              AllOf(HasSubstr("not finite"), HasSubstr(model.directory().string())));
}

// A device that works while a model is loaded, and then no more.
class FailingDevice : public CpuDevice {
 public:
  absl::StatusOr<std::shared_ptr<StreamMark>> Mark(std::function<void()>) override {
    return absl::InternalError("the device fell over");
  }
};

TEST(ModelExecutorTest, ADeviceThatFailsInTheSelfTestFailsTheStart) {
  const SmallModel model;
  const auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), 1, [] {
    return std::make_unique<ModelExecutor>(
        [](const std::string&, LocalRank) { return std::make_unique<FailingDevice>(); });
  });
  EXPECT_EQ(ranks.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(ranks.status().message()), HasSubstr("the device fell over"));
}

TEST(ModelExecutorTest, AHeadSizeThatIsNoMultipleOfEightGivesFiniteLogitsOnAllRanks) {
  const SmallModel model(R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 40,
    "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 10,
    "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 256,
    "attention_bias": true})");
  std::vector<std::vector<float>> logits;
  for (const int world_size : {1, 2, 4}) {
    auto ranks = RankThreads::Start(SmallWorkerConfig(model.directory()), world_size);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    const auto result = (*ranks)->Execute(PromptPlan(LogitsRequest::kAll));
    ASSERT_TRUE(result.ok()) << result.status();
    const auto& rows = result->logits[0].logits;
    const std::vector<float>& row = logits.emplace_back(rows.begin(), rows.end());
    ASSERT_THAT(row, SizeIs(5 * 96));
    for (size_t i = 0; i < row.size(); ++i) ASSERT_NEAR(row[i], logits[0][i], 1e-4) << i;
  }
}

}  // namespace
}  // namespace lockstep::worker
