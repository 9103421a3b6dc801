// A request's answer does not depend on what else runs, nor on how its prompt is cut.

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/parity/model/rank_threads.h"
#include "tests/parity/model/sequence_runner.h"
#include "tests/unit/worker/runtime/small_model.h"

namespace lockstep::worker {
namespace {

using testing::Generate;
using testing::RankThreads;

const std::vector<std::vector<int32_t>> kPrompts = {
    {1, 2, 3}, {50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60}, {9}, {4, 4, 4, 4, 4, 4}};

// One feature of a token's row.
void MakeEmbeddingNan(const SmallModel& model, int32_t token) {
  std::fstream file(model.directory() / "model.safetensors",
                    std::ios::binary | std::ios::in | std::ios::out);
  uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string header(header_bytes, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto tensors = nlohmann::json::parse(header);
  const auto begin = tensors["model.embed_tokens.weight"]["data_offsets"][0].get<uint64_t>();
  file.seekp(static_cast<std::streamoff>(sizeof(header_bytes) + header_bytes + begin +
                                         static_cast<uint64_t>(token) * 32 * sizeof(float)));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  file.write(reinterpret_cast<const char*>(&nan), sizeof(nan));
}

TEST(SamplingInBatchTest, SampledTokensAreTheSameAloneAndTogetherAtOneAndTwoRanks) {
  const SmallModel model;
  SamplingParameters sampling;
  sampling.temperature = 0.9F;
  sampling.top_p = 0.95F;
  sampling.seed = 99;
  for (const char* dtype : {"float32", "bfloat16"}) {
    for (const int world_size : {1, 2}) {
      SCOPED_TRACE(absl::StrCat(dtype, ", ", world_size, " ranks"));
      WorkerConfig config = testing::SmallWorkerConfig(model.directory());
      config.dtype = dtype;
      auto ranks = RankThreads::Start(config, world_size);
      ASSERT_TRUE(ranks.ok()) << ranks.status();
      const auto together = Generate(**ranks, kPrompts, 20, sampling, {.chunk_size = 5});
      ASSERT_TRUE(together.ok()) << together.status();
      for (size_t i = 0; i < kPrompts.size(); ++i) {
        const auto alone = Generate(**ranks, {kPrompts[i]}, 20, sampling, {.chunk_size = 3});
        ASSERT_TRUE(alone.ok()) << alone.status();
        EXPECT_EQ(alone->at(0), together->at(i)) << "prompt " << i;
      }
    }
  }
}

TEST(SamplingInBatchTest, MoreSequencesThanOneBlockOfLogitRowsAreSampledAlike) {
  const SmallModel model;
  WorkerConfig config = testing::SmallWorkerConfig(model.directory());
  config.max_num_seqs = 150;
  auto ranks = RankThreads::Start(config, 2);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  SamplingParameters sampling;
  sampling.seed = 3;
  const std::vector<std::vector<int32_t>> prompts(150, kPrompts[0]);
  const auto answers = Generate(**ranks, prompts, 4, sampling, {});
  ASSERT_TRUE(answers.ok()) << answers.status();
  for (const auto& answer : *answers) EXPECT_EQ(answer, answers->at(0));
}

TEST(SamplingInBatchTest, ATokenWhoseWeightsAreNotFiniteBreaksItsOwnSequenceAlone) {
  constexpr int32_t kBrokenToken = 77;
  const SmallModel model;
  MakeEmbeddingNan(model, kBrokenToken);
  for (const int world_size : {1, 2}) {
    auto ranks = RankThreads::Start(testing::SmallWorkerConfig(model.directory()), world_size);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    const auto alone = Generate(**ranks, {kPrompts[0]}, 1, {}, {});
    ASSERT_TRUE(alone.ok()) << alone.status();

    StepPlan plan;
    for (const uint32_t slot : {0U, 1U}) {
      AdmittedSlot& admitted = plan.admitted.emplace_back();
      admitted.slot = slot;
      admitted.token_ids = {1, 2, 3};
      admitted.sampling.num_prompt_tokens = 3;
      admitted.num_prompt_logprobs = 0;
      plan.scheduled.push_back(
          {.slot = slot, .position = 0, .num_tokens = 3, .new_blocks = {slot}});
    }
    plan.admitted[1].token_ids[1] = kBrokenToken;
    const auto result = (*ranks)->Execute(plan);
    ASSERT_TRUE(result.ok()) << result.status();
    ASSERT_EQ(result->sampled.size(), 2U);
    EXPECT_FALSE(result->sampled[0].is_broken);
    EXPECT_EQ(result->sampled[0].token_id, static_cast<uint32_t>(alone->at(0)[0]));
    EXPECT_TRUE(result->sampled[1].is_broken);
    ASSERT_EQ(result->prompt_tokens.size(), 4U);
    EXPECT_FALSE(result->prompt_tokens[0].is_broken || result->prompt_tokens[1].is_broken);
    EXPECT_TRUE(result->prompt_tokens[3].is_broken);

    // The pool goes on, also in the blocks that hold NaN.
    StepPlan next;
    next.released_slots = {0, 1};
    next.admitted = {plan.admitted[0]};
    next.scheduled = {{.slot = 0, .position = 0, .num_tokens = 3, .new_blocks = {1}}};
    const auto after = (*ranks)->Execute(next);
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(after->sampled[0].token_id, result->sampled[0].token_id);
    EXPECT_FALSE(after->sampled[0].is_broken);
  }
}

}  // namespace
}  // namespace lockstep::worker
