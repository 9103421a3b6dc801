#include "worker/sampling/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace lockstep::worker {
namespace {

std::vector<float> WavyLogits(size_t size) {
  std::vector<float> logits(size);
  for (size_t i = 0; i < size; ++i) logits[i] = 2.0F * std::sin(static_cast<float>(i * i % 1009));
  return logits;
}

uint32_t SampleOne(std::span<const float> logits, const SamplingParameters& parameters,
                   uint32_t position) {
  Sampler sampler;
  const auto choice = sampler.Sample(logits, parameters, position);
  return choice.token_id;
}

TEST(SamplerTest, GreedyTakesTheLowestOfTheMostProbable) {
  SamplingParameters parameters;
  parameters.temperature = 0.0F;
  EXPECT_EQ(SampleOne(std::vector<float>{1.0F, 3.0F, 3.0F, 2.0F}, parameters, 5), 1U);
}

TEST(SamplerTest, TheSameSeedAndPositionGiveTheSameTokenAndOthersOthers) {
  const std::vector<float> logits = WavyLogits(5000);
  SamplingParameters parameters;
  parameters.seed = 42;
  std::set<uint32_t> tokens;
  for (uint32_t position = 0; position < 50; ++position) {
    const uint32_t token = SampleOne(logits, parameters, position);
    EXPECT_EQ(SampleOne(logits, parameters, position), token);
    tokens.insert(token);
  }
  EXPECT_GT(tokens.size(), 40U);
}

// Pearson's statistic with 63 degrees of freedom exceeds 103.4 once in a thousand times.
TEST(SamplerTest, DrawsFollowTheDistribution) {
  constexpr size_t kVocabSize = 64;
  constexpr uint32_t kNumDraws = 50'000;
  const std::vector<float> logits = WavyLogits(kVocabSize);
  SamplingParameters parameters;
  parameters.temperature = 1.3F;
  parameters.seed = 12345;
  Sampler sampler;
  const std::vector<float> probabilities = sampler.Probabilities(logits, parameters);
  std::vector<double> counts(kVocabSize);
  for (uint32_t position = 0; position < kNumDraws; ++position) {
    counts[sampler.Sample(logits, parameters, position).token_id] += 1.0;
  }
  double statistic = 0.0;
  for (size_t token = 0; token < kVocabSize; ++token) {
    const double expected = kNumDraws * static_cast<double>(probabilities[token]);
    statistic += (counts[token] - expected) * (counts[token] - expected) / expected;
  }
  EXPECT_LT(statistic, 103.4);
}

TEST(SamplerTest, FiltersNeverLetAFilteredTokenThrough) {
  const std::vector<float> logits = WavyLogits(3000);
  SamplingParameters parameters;
  parameters.top_k = 40;
  parameters.top_p = 0.8F;
  parameters.min_p = 0.2F;
  Sampler sampler;
  const std::vector<float> probabilities = sampler.Probabilities(logits, parameters);
  for (uint32_t position = 0; position < 2000; ++position) {
    const uint32_t token = sampler.Sample(logits, parameters, position).token_id;
    ASSERT_GT(probabilities[token], 0.0F) << token;
  }
}

TEST(SamplerTest, TopPKeepsTheSameTokensHoweverFlatTheDistribution) {
  // All equal: of 1000 tokens the 100 with the lowest ids are removed.
  SamplingParameters parameters;
  parameters.top_p = 0.9F;
  Sampler sampler;
  const std::vector<float> probabilities =
      sampler.Probabilities(std::vector<float>(1000, 1.0F), parameters);
  EXPECT_EQ(std::count(probabilities.begin(), probabilities.end(), 0.0F), 100);
  EXPECT_EQ(probabilities[99], 0.0F);
  EXPECT_GT(probabilities[100], 0.0F);
}

TEST(SamplerTest, TopPOfZeroLeavesOneToken) {
  SamplingParameters parameters;
  parameters.top_p = 0.0F;
  EXPECT_EQ(SampleOne(std::vector<float>{1.0F, 4.0F, 2.0F}, parameters, 9), 1U);
}

TEST(SamplerTest, ATinyTemperatureIsGreedy) {
  SamplingParameters parameters;
  parameters.temperature = 1e-38F;
  EXPECT_EQ(SampleOne(std::vector<float>{-2.0F, 7.0F, 6.9F}, parameters, 3), 1U);
}

TEST(SamplerTest, EndTokensWaitForTheMinimumLength) {
  SamplingParameters parameters;
  parameters.temperature = 0.0F;
  parameters.num_prompt_tokens = 10;
  parameters.min_new_tokens = 3;
  parameters.end_token_ids = {2, 900};
  const std::vector<float> logits = {0.0F, 1.0F, 5.0F};
  EXPECT_EQ(SampleOne(logits, parameters, 10), 1U);  // the answer's first token
  EXPECT_EQ(SampleOne(logits, parameters, 12), 1U);  // its third
  EXPECT_EQ(SampleOne(logits, parameters, 13), 2U);
}

TEST(SamplerTest, ARowWithLogitsThatAreNotFiniteIsBroken) {
  Sampler sampler;
  SamplingParameters parameters;
  for (const float temperature : {0.0F, 1.0F}) {
    parameters.temperature = temperature;
    for (const float bad : {NAN, std::numeric_limits<float>::infinity()}) {
      const auto choice = sampler.Sample(std::vector<float>{0.0F, bad, 1.0F}, parameters, 4);
      EXPECT_TRUE(choice.is_broken);
      EXPECT_EQ(choice.token_id, 0U);
      EXPECT_TRUE(sampler.Report(std::vector<float>{0.0F, bad, 1.0F}, 2, 1).is_broken);
    }
    EXPECT_FALSE(sampler.Sample(std::vector<float>{0.0F, 2.0F, 1.0F}, parameters, 4).is_broken);
  }
  EXPECT_FALSE(sampler.Report(std::vector<float>{0.0F, 2.0F, 1.0F}, 2, 1).is_broken);
}

TEST(SamplerTest, LogprobsAreTheModelsOwnBestFirst) {
  SamplingParameters parameters;
  parameters.temperature = 0.0F;
  parameters.num_logprobs = 3;
  const std::vector<float> logits = {0.5F, 2.0F, 0.5F, 1.0F, -1.0F};
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit);
  Sampler sampler;
  const auto choice = sampler.Sample(logits, parameters, 1);
  EXPECT_NEAR(choice.report.logprob, 2.0 - std::log(sum), 1e-6);
  EXPECT_EQ(choice.report.rank, 1U);
  ASSERT_EQ(choice.report.top.size(), 3U);
  EXPECT_EQ(choice.report.top[0].token_id, 1U);
  EXPECT_EQ(choice.report.top[1].token_id, 3U);
  EXPECT_EQ(choice.report.top[2].token_id, 0U);
  EXPECT_NEAR(choice.report.top[2].logprob, 0.5 - std::log(sum), 1e-6);
}

TEST(SamplerTest, MoreLogprobsThanTokensGiveAllTokens) {
  SamplingParameters parameters;
  parameters.num_logprobs = 50;
  Sampler sampler;
  EXPECT_EQ(sampler.Sample(std::vector<float>{0.5F, 2.0F}, parameters, 1).report.top.size(), 2U);
}

TEST(SamplerTest, WhatIsOutOfRangeIsRefused) {
  const auto code_with = [](auto set) {
    SamplingParameters parameters;
    set(parameters);
    return CheckSampling(parameters).code();
  };
  EXPECT_EQ(code_with([](auto&) {}), absl::StatusCode::kOk);
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code_with([](auto& p) { p.temperature = -1.0F; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.temperature = NAN; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.top_p = 1.5F; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.min_p = -0.5F; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.typical_p = 1.1F; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.repetition_penalty = -1.0F; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.presence_penalty = NAN; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.frequency_penalty = INFINITY; }), kInvalid);
  EXPECT_EQ(code_with([](auto& p) { p.logit_bias[3] = -INFINITY; }), kInvalid);
}

}  // namespace
}  // namespace lockstep::worker
