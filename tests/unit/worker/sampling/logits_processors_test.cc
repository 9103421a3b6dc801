#include "worker/sampling/logits_processors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

std::vector<float> Processed(const std::vector<float>& logits, const SamplingParameters& parameters,
                             const std::vector<uint32_t>& history) {
  LogitsProcessors processors;
  const auto row =
      processors.Apply(logits, parameters, static_cast<uint32_t>(history.size()), history);
  return {row.begin(), row.end()};
}

TEST(LogitsProcessorsTest, NothingToDoGivesTheRowItself) {
  LogitsProcessors processors;
  const std::vector<float> logits = {1.0F, 2.0F};
  EXPECT_EQ(processors.Apply(logits, {}, 1, std::vector<uint32_t>{1}).data(), logits.data());
}

TEST(LogitsProcessorsTest, PresenceAndFrequencySeeTheAnswerAloneAndRepetitionThePromptToo) {
  SamplingParameters parameters;
  parameters.num_prompt_tokens = 2;
  const std::vector<uint32_t> history = {0, 1, 1, 2, 2};
  parameters.presence_penalty = 0.5F;
  EXPECT_THAT(Processed({4.0F, 4.0F, -4.0F, 4.0F}, parameters, history),
              ElementsAre(4.0F, 3.5F, -4.5F, 4.0F));
  parameters.frequency_penalty = 0.25F;
  EXPECT_THAT(Processed({4.0F, 4.0F, -4.0F, 4.0F}, parameters, history),
              ElementsAre(4.0F, 3.25F, -5.0F, 4.0F));
  parameters.repetition_penalty = 2.0F;
  EXPECT_THAT(Processed({4.0F, 4.0F, -4.0F, 4.0F}, parameters, history),
              ElementsAre(2.0F, 1.25F, -9.0F, 4.0F));
}

TEST(LogitsProcessorsTest, ARowKeepsNothingOfTheOneBeforeIt) {
  LogitsProcessors processors;
  SamplingParameters parameters;
  parameters.frequency_penalty = 1.0F;
  const std::vector<float> logits(4, 0.0F);
  const std::vector<uint32_t> first = {0, 0, 3};
  const std::vector<uint32_t> second = {1};
  processors.Apply(logits, parameters, 3, first);
  EXPECT_THAT(processors.Apply(logits, parameters, 1, second),
              ElementsAre(0.0F, -1.0F, 0.0F, 0.0F));
}

TEST(LogitsProcessorsTest, AllowedTokensKeepTheirLogitsAndUnknownIdsAreIgnored) {
  SamplingParameters parameters;
  parameters.allowed_token_ids = {2, 0, 2, 900};
  parameters.logit_bias = {{0, 1.5F}, {1, 50.0F}, {901, 1.0F}};
  EXPECT_THAT(Processed({1.0F, 2.0F, 3.0F}, parameters, {}), ElementsAre(2.5F, -kInfinity, 3.0F));
}

TEST(LogitsProcessorsTest, NoPenaltyMakesAFiniteLogitInfiniteOrAForbiddenTokenFree) {
  SamplingParameters parameters;
  parameters.repetition_penalty = 1e-30F;
  EXPECT_THAT(Processed({1e30F, -kInfinity, 0.0F}, parameters, {0, 1, 2}),
              ElementsAre(kLargest, -kInfinity, 0.0F));
  parameters.repetition_penalty = 100.0F;
  EXPECT_THAT(Processed({-1e38F, 5.0F}, parameters, {0}), ElementsAre(-kLargest, 5.0F));
}

TEST(LogitsProcessorsTest, GreedyTakesTheBestTokenAfterThem) {
  Sampler sampler;
  SamplingParameters parameters;
  parameters.temperature = 0.0F;
  parameters.num_logprobs = 0;
  const std::vector<float> logits = {3.0F, 2.0F, 1.0F, 0.0F};
  const std::vector<uint32_t> history = {0};
  parameters.repetition_penalty = 2.0F;
  const auto choice = sampler.Sample(logits, parameters, 1, history);
  EXPECT_EQ(choice.token_id, 1U);
  EXPECT_EQ(choice.report.rank, 2U);  // in the model's own order
  parameters.logit_bias = {{3, 10.0F}};
  EXPECT_EQ(sampler.Sample(logits, parameters, 1, history).token_id, 3U);
  parameters.allowed_token_ids = {0, 2};
  EXPECT_EQ(sampler.Sample(logits, parameters, 1, history).token_id, 0U);
}

TEST(LogitsProcessorsTest, WhereEveryTokenIsForbiddenTheMinimumLengthGivesWay) {
  Sampler sampler;
  SamplingParameters parameters;
  parameters.min_new_tokens = 10;
  parameters.end_token_ids = {1, 2};
  parameters.allowed_token_ids = {2, 1};
  for (const float temperature : {0.0F, 1e-3F}) {
    parameters.temperature = temperature;
    EXPECT_EQ(sampler.Sample(std::vector<float>{9.0F, 2.0F, 1.0F}, parameters, 3).token_id, 1U);
  }
}

TEST(LogitsProcessorsTest, WhereTheModelExcludesAllAllowedTokensTheLowestIsTaken) {
  Sampler sampler;
  SamplingParameters parameters;
  parameters.allowed_token_ids = {3, 1, 900};
  const auto choice =
      sampler.Sample(std::vector<float>{1.0F, -kInfinity, 0.0F, -kInfinity}, parameters, 3);
  EXPECT_EQ(choice.token_id, 1U);
}

TEST(LogitsProcessorsTest, AMaskForbidsEveryTokenThatItLacks) {
  LogitsProcessors processors;
  std::vector<float> logits(40, 1.0F);
  const std::vector<uint32_t> mask = {1U << 3, 1U << 7};
  const auto row = processors.Apply(logits, {}, 1, {}, mask);
  for (size_t i = 0; i < logits.size(); ++i) {
    EXPECT_EQ(row[i], i == 3 || i == 39 ? 1.0F : -kInfinity) << i;
  }
}

TEST(LogitsProcessorsTest, AMaskWinsOverWhatElseForbidsTokens) {
  Sampler sampler;
  const std::vector<float> logits = {5.0F, 4.0F, 3.0F, 2.0F};
  const std::vector<uint32_t> mask = {0b1100};
  SamplingParameters parameters;
  parameters.temperature = 0.0F;
  EXPECT_EQ(sampler.Sample(logits, parameters, 1, {}, mask).token_id, 2U);
  parameters.min_new_tokens = 10;
  parameters.end_token_ids = {2, 3};
  EXPECT_EQ(sampler.Sample(logits, parameters, 1, {}, mask).token_id, 2U);
  parameters.allowed_token_ids = {0, 3};
  EXPECT_EQ(sampler.Sample(logits, parameters, 1, {}, mask).token_id, 3U);
  parameters.allowed_token_ids = {0, 1};
  EXPECT_EQ(sampler.Sample(logits, parameters, 1, {}, mask).token_id, 2U);
  // The model excludes all of it.
  const std::vector<float> excluded = {5.0F, 4.0F, -kInfinity, -kInfinity};
  EXPECT_EQ(sampler.Sample(excluded, parameters, 1, {}, mask).token_id, 2U);
}

}  // namespace
}  // namespace lockstep::worker
