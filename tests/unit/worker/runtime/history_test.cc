// What the workers do with a slot's tokens: penalties that count them, and log probabilities of the
// prompt's.

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <vector>

#include "tests/parity/model/rank_threads.h"
#include "tests/parity/model/sequence_runner.h"
#include "tests/unit/worker/runtime/small_model.h"
#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

using testing::Generate;
using testing::PromptLogprobs;
using testing::RankThreads;

const std::vector<int32_t> kPrompt = {50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 3};

SamplingParameters WithPenalties() {
  SamplingParameters sampling;
  sampling.temperature = 0.8F;
  sampling.repetition_penalty = 1.4F;
  sampling.presence_penalty = 0.6F;
  sampling.frequency_penalty = 0.9F;
  sampling.typical_p = 0.95F;
  sampling.logit_bias = {{3, 2.0F}, {4, 1.0F}};
  sampling.seed = 5;
  return sampling;
}

// Admits prompt and answer so far, as after a preemption, and samples one token.
uint32_t NextToken(RankThreads& ranks, const std::vector<int32_t>& tokens,
                   SamplingParameters sampling) {
  StepPlan plan;
  AdmittedSlot& admitted = plan.admitted.emplace_back();
  admitted.token_ids.assign(tokens.begin(), tokens.end());
  admitted.sampling = std::move(sampling);
  admitted.sampling.num_prompt_tokens = static_cast<uint32_t>(kPrompt.size());
  plan.scheduled.push_back({.slot = 0,
                            .position = 0,
                            .num_tokens = static_cast<uint32_t>(tokens.size()),
                            .new_blocks = {7, 6, 5, 4, 3}});
  const auto result = ranks.Execute(plan);
  EXPECT_TRUE(result.ok()) << result.status();
  StepPlan release;
  release.released_slots = {0};
  EXPECT_TRUE(ranks.Execute(release).ok());
  return result.ok() ? result->sampled.at(0).token_id : UINT32_MAX;
}

TEST(HistoryTest, PenaltiesGiveTheSameAnswerAfterAPreemptionAtAnyPoint) {
  const SmallModel model;
  for (const int world_size : {1, 2}) {
    auto ranks = RankThreads::Start(testing::SmallWorkerConfig(model.directory()), world_size);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    const auto answers = Generate(**ranks, {kPrompt, {1, 2}, {9}}, 20, WithPenalties(), {});
    ASSERT_TRUE(answers.ok()) << answers.status();
    std::vector<int32_t> tokens = kPrompt;
    for (const int32_t token : answers->at(0)) {
      ASSERT_EQ(NextToken(**ranks, tokens, WithPenalties()), static_cast<uint32_t>(token));
      tokens.push_back(token);
    }
  }
}

TEST(HistoryTest, AStrongFrequencyPenaltyNeverRepeatsATokenOfTheAnswer) {
  const SmallModel model;
  auto ranks = RankThreads::Start(testing::SmallWorkerConfig(model.directory()), 1);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  SamplingParameters sampling;
  sampling.temperature = 0.0F;
  sampling.frequency_penalty = 1000.0F;
  const auto answers = Generate(**ranks, {kPrompt}, 60, sampling, {});
  ASSERT_TRUE(answers.ok()) << answers.status();
  std::vector<int32_t> answer = answers->at(0);
  ASSERT_EQ(answer.size(), 60U);
  std::sort(answer.begin(), answer.end());
  EXPECT_EQ(std::adjacent_find(answer.begin(), answer.end()), answer.end());
}

bool IsSameToken(const SampledToken& a, const SampledToken& b) {
  return a.position == b.position && a.token_id == b.token_id && a.logprob == b.logprob &&
         a.rank == b.rank &&
         std::equal(a.top.begin(), a.top.end(), b.top.begin(), b.top.end(),
                    [](const TokenLogprob& x, const TokenLogprob& y) {
                      return x.token_id == y.token_id && x.logprob == y.logprob;
                    });
}

TEST(HistoryTest, LogProbabilitiesOfAPromptDoNotDependOnItsChunksOrOnWhatRunsBeside) {
  const SmallModel model;
  for (const char* dtype : {"float32", "bfloat16"}) {
    WorkerConfig config = testing::SmallWorkerConfig(model.directory());
    config.dtype = dtype;
    auto ranks = RankThreads::Start(config, 2);
    ASSERT_TRUE(ranks.ok()) << ranks.status();
    const auto alone = PromptLogprobs(**ranks, {kPrompt}, 2, {});
    ASSERT_TRUE(alone.ok()) << alone.status();
    ASSERT_EQ(alone->at(0).size(), kPrompt.size() - 1);
    for (const uint32_t chunk_size : {1U, 4U, 6U, 12U}) {
      const auto beside =
          PromptLogprobs(**ranks, {{9}, kPrompt, {1, 2, 3}}, 2, {.chunk_size = chunk_size});
      ASSERT_TRUE(beside.ok()) << beside.status();
      EXPECT_TRUE(beside->at(0).empty());
      EXPECT_EQ(beside->at(2).size(), 2U);
      EXPECT_TRUE(std::equal(alone->at(0).begin(), alone->at(0).end(), beside->at(1).begin(),
                             beside->at(1).end(), IsSameToken))
          << dtype << ", chunks of " << chunk_size;
    }
  }
}

// More rows than one pass over the head takes.
TEST(HistoryTest, ALongPromptsLogProbabilitiesAreThoseOfItsLogits) {
  const SmallModel model;
  auto ranks = RankThreads::Start(testing::SmallWorkerConfig(model.directory()), 1);
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  std::vector<int32_t> prompt;
  for (int i = 0; i < 240; ++i) prompt.push_back(i * 37 % 96);
  const auto tokens = PromptLogprobs(**ranks, {prompt}, 0, {});
  const auto logits = testing::AllLogits(**ranks, {prompt}, {});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_TRUE(logits.ok()) << logits.status();
  ASSERT_EQ(tokens->at(0).size(), prompt.size() - 1);
  Sampler sampler;
  for (const SampledToken& token : tokens->at(0)) {
    const std::span<const float> row(logits->at(0).data() + (token.position - 1) * 96, 96);
    const auto expected =
        sampler.Report(row, static_cast<uint32_t>(prompt[token.position]), /*num_top=*/0);
    EXPECT_EQ(token.logprob, expected.report.logprob) << token.position;
    EXPECT_EQ(token.rank, expected.report.rank) << token.position;
  }
}

}  // namespace
}  // namespace lockstep::worker
