#include "tests/testing/sampling_cases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

namespace lockstep::testing {
namespace {

constexpr char kSamplingReference[] = LOCKSTEP_SOURCE_DIR "/tests/parity/sampling/reference.json";

TEST(SamplingCasesTest, EveryDistributionSumsToOneOverTheKeptTokens) {
  std::set<std::string> names;
  for (const SamplingCase& sampling_case : LoadSamplingCases(kSamplingReference)) {
    SCOPED_TRACE(sampling_case.name);
    EXPECT_TRUE(names.insert(sampling_case.name).second);
    const std::vector<float>& probabilities = sampling_case.probabilities;
    ASSERT_EQ(probabilities.size(), sampling_case.logits.size());
    EXPECT_NEAR(std::accumulate(probabilities.begin(), probabilities.end(), 0.0), 1.0, 1e-5);
    for (size_t i = 0; i < probabilities.size(); ++i) {
      EXPECT_TRUE(std::isfinite(sampling_case.logits[i]) || !sampling_case.is_kept[i]) << i;
    }
  }
  EXPECT_GE(names.size(), 150u);
}

TEST(SamplingCasesTest, WithoutOptionsTheDistributionIsTheSoftmaxOfTheLogits) {
  for (const SamplingCase& sampling_case : LoadSamplingCases(kSamplingReference)) {
    if (sampling_case.name != "lively") continue;
    const std::vector<float>& logits = sampling_case.logits;
    const double sum =
        std::accumulate(logits.begin(), logits.end(), 0.0,
                        [](double total, float logit) { return total + std::exp(double{logit}); });
    for (size_t i = 0; i < logits.size(); ++i) {
      EXPECT_NEAR(sampling_case.probabilities[i], std::exp(double{logits[i]}) / sum, 1e-6) << i;
    }
  }
}

TEST(SamplingCasesDeathTest, MissingFileAbortsWithItsName) {
  EXPECT_DEATH(LoadSamplingCases("/nonexistent.json"), "/nonexistent.json.*cannot be opened");
}

}  // namespace
}  // namespace lockstep::testing
