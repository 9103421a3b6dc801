#include "worker/runtime/decode_graphs.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/parity/model/rank_threads.h"
#include "tests/testing/recording_device.h"
#include "tests/unit/worker/runtime/small_model.h"
#include "worker/runtime/model_executor.h"

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;
using testing::FakeGraphRecorder;
using testing::GraphCounts;
using testing::RankThreads;
using testing::RecordingDevice;
using testing::SmallWorkerConfig;

TEST(DecodeBatchSizesTest, GrowByDoublingThenEvenlyUpToTheMostSequences) {
  EXPECT_THAT(DecodeBatchSizes(1), ElementsAre(1));
  EXPECT_THAT(DecodeBatchSizes(6), ElementsAre(1, 2, 4, 6));
  EXPECT_THAT(DecodeBatchSizes(8), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(DecodeBatchSizes(33), ElementsAre(1, 2, 4, 8, 16, 24, 32, 33));
  const std::vector<int64_t> sizes = DecodeBatchSizes(4096);
  EXPECT_EQ(sizes.back(), 512);
  EXPECT_LT(sizes.size(), 50U);
  for (size_t i = 1; i < sizes.size(); ++i) {
    EXPECT_GT(sizes[i], sizes[i - 1]);
    EXPECT_LE(sizes[i] - sizes[i - 1], sizes[i] <= 256 ? 8 : 32);
  }
}

Run Decode(uint32_t slot) {
  return {.slot = slot, .position = 5, .num_tokens = 1, .is_decode = true, .reaches_end = true};
}

// Graphs of work that notes its batch sizes.
class DecodeGraphsTest : public ::testing::Test {
 protected:
  DecodeGraphs::Steps Steps() {
    return {.make_batch =
                [](int64_t num_rows) {
                  StepBatch batch;
                  batch.num_tokens = num_rows;
                  return batch;
                },
            .forward =
                [this](const StepBatch& batch, at::Tensor& hidden) {
                  forwards_.push_back(batch.num_tokens);
                  hidden = at::full({batch.num_tokens}, 1.0, at::TensorOptions(at::kFloat));
                  return forward_status_;
                },
            .wait =
                [this] {
                  ++num_waits_;
                  return absl::OkStatus();
                }};
  }

  GraphCounts counts_;
  FakeGraphRecorder recorder_{counts_};
  std::vector<int64_t> forwards_;
  absl::Status forward_status_;
  int num_waits_ = 0;
  DecodeGraphs graphs_;
};

TEST_F(DecodeGraphsTest, EachSizeIsRunOnceAndThenRecordedTheLargestFirst) {
  ASSERT_TRUE(graphs_.Record(recorder_, {1, 2, 4}, Steps()).ok());
  EXPECT_THAT(forwards_, ElementsAre(4, 4, 2, 2, 1, 1));
  EXPECT_EQ(num_waits_, 3);
  EXPECT_EQ(counts_.num_recorded, 3);
}

TEST_F(DecodeGraphsTest, AStepOfDecodesIsPaddedToTheNextSize) {
  ASSERT_TRUE(graphs_.Record(recorder_, {1, 2, 4}, Steps()).ok());
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0)}), 1);
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0), Decode(1)}), 2);
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0), Decode(1), Decode(2)}), 4);
  forwards_.clear();
  EXPECT_EQ(graphs_.Replay(4).size(0), 4);
  EXPECT_THAT(forwards_, ElementsAre(4));
}

TEST_F(DecodeGraphsTest, OtherStepsHaveNoGraph) {
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0)}), 0) << "nothing recorded";
  ASSERT_TRUE(graphs_.Record(recorder_, {1, 2}, Steps()).ok());
  EXPECT_EQ(graphs_.BatchSizeFor({}), 0);
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0), Decode(1), Decode(2)}), 0) << "too many";
  worker::Run prefill = Decode(1);
  prefill.is_decode = false;
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0), prefill}), 0);
  worker::Run recomputed = Decode(1);  // a generated token in the middle of what a preemption lost
  recomputed.reaches_end = false;
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0), recomputed}), 0);
}

TEST_F(DecodeGraphsTest, AFailureWhileRecordingIsReported) {
  forward_status_ = absl::UnavailableError("a rank is gone");
  EXPECT_EQ(graphs_.Record(recorder_, {1, 2}, Steps()), forward_status_);
  EXPECT_EQ(graphs_.BatchSizeFor({Decode(0)}), 0);
}

// Five sequences in slots 0 to 4, which end one after another, beside which a prompt begins.
std::vector<StepPlan> Plans() {
  constexpr uint32_t kNumSlots = 5, kNumDecodeSteps = 10;
  std::vector<StepPlan> plans;
  plans.reserve(1 + kNumDecodeSteps);  // the first is looked at again while others are added
  StepPlan& first = plans.emplace_back();
  for (uint32_t slot = 0; slot < kNumSlots; ++slot) {
    AdmittedSlot& admitted = first.admitted.emplace_back();
    admitted.slot = slot;
    for (uint32_t i = 0; i <= slot; ++i) admitted.token_ids.push_back(7 * i + slot);
    admitted.sampling.num_prompt_tokens = slot + 1;
    admitted.sampling.temperature = 0.8F;
    admitted.sampling.seed = slot;
    admitted.sampling.num_logprobs = 5;
    first.scheduled.push_back(
        {.slot = slot, .position = 0, .num_tokens = slot + 1, .new_blocks = {2 * slot}});
  }
  for (uint32_t step = 0; step < kNumDecodeSteps; ++step) {
    StepPlan& plan = plans.emplace_back();
    const uint32_t num_ended = step / 2;
    if (step % 2 == 0 && step > 0) plan.released_slots = {num_ended - 1};
    for (uint32_t slot = num_ended; slot < kNumSlots; ++slot) {
      const uint32_t position = slot + 1 + step;
      plan.scheduled.push_back(
          {.slot = slot, .position = position, .num_tokens = 1, .new_blocks = {}});
      if (position == 8) plan.scheduled.back().new_blocks = {2 * slot + 1};
    }
    if (step == 5) {
      plan.admitted.push_back(first.admitted[0]);
      plan.scheduled.push_back({.slot = 0, .position = 0, .num_tokens = 1, .new_blocks = {20}});
    }
  }
  return plans;
}

std::vector<StepResult> RunPlans(const WorkerConfig& config, int world_size, GraphCounts* counts) {
  const auto make_executor = [&]() -> std::unique_ptr<StepExecutor> {
    if (counts == nullptr) return MakeStepExecutor();
    return std::make_unique<ModelExecutor>([counts](const std::string&, LocalRank) {
      return std::make_unique<RecordingDevice>(*counts);
    });
  };
  auto ranks = RankThreads::Start(config, world_size, make_executor);
  EXPECT_TRUE(ranks.ok()) << ranks.status();
  std::vector<StepResult> results;
  for (const StepPlan& plan : Plans()) {
    auto result = (*ranks)->Execute(plan);
    EXPECT_TRUE(result.ok()) << result.status();
    results.push_back(*std::move(result));
  }
  return results;
}

void ExpectSameTokens(const StepResult& actual, const StepResult& expected) {
  ASSERT_EQ(actual.sampled.size(), expected.sampled.size());
  for (size_t i = 0; i < expected.sampled.size(); ++i) {
    const SampledToken& a = actual.sampled[i];
    const SampledToken& e = expected.sampled[i];
    EXPECT_EQ(a.slot, e.slot);
    EXPECT_EQ(a.token_id, e.token_id) << "slot " << e.slot;
    EXPECT_EQ(a.logprob, e.logprob) << "slot " << e.slot;
    ASSERT_EQ(a.top.size(), e.top.size());
    for (size_t j = 0; j < e.top.size(); ++j) EXPECT_EQ(a.top[j].logprob, e.top[j].logprob);
  }
}

TEST(RecordedStepsTest, PaddedReplaysGiveTheBitsOfPlainSteps) {
  const SmallModel model;
  for (const char* dtype : {"float32", "bfloat16"}) {
    for (const int world_size : {1, 2}) {
      SCOPED_TRACE(absl::StrCat(dtype, ", ", world_size, " ranks"));
      WorkerConfig config = SmallWorkerConfig(model.directory());
      config.dtype = dtype;
      GraphCounts counts;
      const auto plain = RunPlans(config, world_size, nullptr);
      const auto recorded = RunPlans(config, world_size, &counts);
      EXPECT_EQ(counts.num_recorded, 4 * world_size);  // 1, 2, 4 and 8 rows
      EXPECT_EQ(counts.num_replayed, 9 * world_size);  // not where a prompt runs
      ASSERT_EQ(plain.size(), recorded.size());
      for (size_t i = 0; i < plain.size(); ++i) {
        SCOPED_TRACE(absl::StrCat("step ", i + 1));
        ExpectSameTokens(recorded[i], plain[i]);
        EXPECT_EQ(recorded[i].state_hash, plain[i].state_hash);
      }
    }
  }
}

TEST(RecordedStepsTest, NothingIsRecordedWhereStepsAreToRunEagerly) {
  const SmallModel model;
  WorkerConfig config = SmallWorkerConfig(model.directory());
  config.enforce_eager = true;
  GraphCounts counts;
  RunPlans(config, 1, &counts);
  EXPECT_EQ(counts.num_recorded, 0);
}

TEST(RecordedStepsTest, AModelWhoseFrequenciesChangeIsNotRecorded) {
  const SmallModel model(R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 256,
    "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}})");
  GraphCounts counts;
  RunPlans(SmallWorkerConfig(model.directory()), 1, &counts);
  EXPECT_EQ(counts.num_recorded, 0);
}

}  // namespace
}  // namespace lockstep::worker
