// A request's answer does not depend on what else runs, nor on how its prompt is cut.

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace lockstep::worker
