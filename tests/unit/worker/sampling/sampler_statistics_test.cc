// Whether draws follow the distribution that the options leave, by Pearson's chi-square test. Seeds
// are fixed, so the statistics are the same in every run.

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

constexpr size_t kVocabSize = 50;

std::vector<float> Logits() {
  std::vector<float> logits(kVocabSize);
  for (size_t i = 0; i < kVocabSize; ++i) {
    logits[i] = 2.0F * std::sin(static_cast<float>(i * i % 1009));
  }
  return logits;
}

// What Pearson's statistic exceeds once in a thousand times (Wilson and Hilferty 1931).
double CriticalValue(double degrees) {
  const double ninth = 2.0 / (9.0 * degrees);
  return degrees * std::pow(1.0 - ninth + 3.0902 * std::sqrt(ninth), 3);
}

// Cells of which fewer than 5 are expected are counted together.
void ExpectFollows(const std::vector<double>& counts, const std::vector<double>& expected) {
  double statistic = 0.0;
  double degrees = -1.0;
  double rare = 0.0;
  double expected_rare = 0.0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (expected[i] < 5.0) {
      rare += counts[i];
      expected_rare += expected[i];
      continue;
    }
    statistic += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
    degrees += 1.0;
  }
  if (expected_rare >= 5.0) {
    statistic += (rare - expected_rare) * (rare - expected_rare) / expected_rare;
    degrees += 1.0;
  }
  ASSERT_GT(degrees, 0.0);
  EXPECT_LT(statistic, CriticalValue(degrees)) << degrees << " degrees of freedom";
}

struct Options {
  std::string name;
  SamplingParameters parameters;
};

std::vector<Options> AllOptions() {
  SamplingParameters plain;
  plain.temperature = 1.3F;
  std::vector<Options> options = {{"temperature", plain}};
  const auto add = [&](const std::string& name, auto set) {
    options.push_back({name, plain});
    set(options.back().parameters);
  };
  add("low temperature", [](auto& p) { p.temperature = 0.5F; });
  add("top_k", [](auto& p) { p.top_k = 12; });
  add("top_p", [](auto& p) { p.top_p = 0.8F; });
  add("min_p", [](auto& p) { p.min_p = 0.15F; });
  add("typical_p", [](auto& p) { p.typical_p = 0.7F; });
  add("allowed_token_ids", [](auto& p) { p.allowed_token_ids = {3, 8, 11, 20, 41, 49}; });
  add("logit_bias", [](auto& p) { p.logit_bias = {{3, 2.0F}, {7, -3.0F}, {9, 1.0F}}; });
  add("combined", [](auto& p) {
    p.logit_bias = {{3, 2.0F}, {7, -3.0F}, {9, 1.0F}};
    p.repetition_penalty = 1.2F;
    p.frequency_penalty = 0.3F;
    p.top_k = 30;
    p.top_p = 0.95F;
    p.min_p = 0.02F;
    p.typical_p = 0.9F;
  });
  return options;
}

constexpr uint32_t kNumDraws = 30'000;

// Draws at many positions with one seed, or at one position with many seeds.
std::vector<double> CountDraws(SamplingParameters parameters, bool vary_seed) {
  const std::vector<float> logits = Logits();
  const std::vector<uint32_t> history = {3, 3, 5, 8};
  Sampler sampler;
  std::vector<double> counts(kVocabSize);
  for (uint32_t i = 0; i < kNumDraws; ++i) {
    parameters.seed = vary_seed ? i : 2024;
    const auto choice = sampler.Sample(logits, parameters, vary_seed ? 77 : 4 + i, history);
    counts[choice.token_id] += 1.0;
  }
  return counts;
}

TEST(SamplerStatisticsTest, DrawsFollowTheDistributionAcrossPositionsAndAcrossSeeds) {
  Sampler sampler;
  for (const Options& options : AllOptions()) {
    SCOPED_TRACE(options.name);
    const std::vector<float> probabilities =
        sampler.Probabilities(Logits(), options.parameters, 4, std::vector<uint32_t>{3, 3, 5, 8});
    std::vector<double> expected;
    for (const float probability : probabilities) expected.push_back(probability * kNumDraws);
    for (const bool vary_seed : {false, true}) {
      SCOPED_TRACE(vary_seed ? "across seeds" : "across positions");
      const std::vector<double> counts = CountDraws(options.parameters, vary_seed);
      ExpectFollows(counts, expected);
      for (size_t token = 0; token < kVocabSize; ++token) {
        EXPECT_TRUE(expected[token] > 0.0 || counts[token] == 0.0) << token;
      }
    }
  }
}

// Pairs of draws fall into the cells of a table as often as the product of their probabilities.
void ExpectIndependent(uint64_t seed_step, uint32_t position_step) {
  const std::vector<float> logits = {1.0F, 0.3F, 0.0F, -0.5F, 0.7F, -1.0F};
  Sampler sampler;
  SamplingParameters parameters;
  const std::vector<float> probabilities = sampler.Probabilities(logits, parameters);
  std::vector<double> counts(logits.size() * logits.size());
  std::vector<double> expected;
  for (const float first : probabilities) {
    for (const float second : probabilities) expected.push_back(kNumDraws * double{first} * second);
  }
  for (uint32_t i = 0; i < kNumDraws; ++i) {
    // No draw is part of two pairs.
    parameters.seed = 1000 + 2 * i * seed_step;
    const uint32_t position = 10 + 2 * i * position_step;
    const uint32_t first = sampler.Sample(logits, parameters, position).token_id;
    parameters.seed += seed_step;
    const uint32_t second = sampler.Sample(logits, parameters, position + position_step).token_id;
    counts[first * logits.size() + second] += 1.0;
  }
  ExpectFollows(counts, expected);
}

TEST(SamplerStatisticsTest, NeighbouringPositionsOfASeedAreIndependent) { ExpectIndependent(0, 1); }

TEST(SamplerStatisticsTest, NeighbouringSeedsAtAPositionAreIndependent) { ExpectIndependent(1, 0); }

}  // namespace
}  // namespace lockstep::worker
