// Each option alone, and all of them in order, against transformers' logits processors.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "tests/testing/sampling_cases.h"
#include "tests/unit/worker/sampling/sampling_case_parameters.h"
#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

// The reference divides by the temperature before it subtracts the maximum, which rounds large
// scores; the sampler subtracts first.
float Tolerance(const testing::SamplingCase& entry) {
  float largest = 0.0F;
  for (const float logit : entry.logits) {
    if (std::isfinite(logit)) largest = std::max(largest, std::abs(logit));
  }
  return 2e-6F + 2.0F * std::numeric_limits<float>::epsilon() * largest / entry.temperature;
}

TEST(SamplingParityTest, DistributionsAreThoseOfTheReference) {
  const std::vector<testing::SamplingCase> cases = testing::LoadSamplingCases(
      std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "tests/parity/sampling/reference.json");
  ASSERT_GE(cases.size(), 200U);
  Sampler sampler;
  for (const testing::SamplingCase& entry : cases) {
    const auto position = static_cast<uint32_t>(entry.history.size());
    const std::vector<float> probabilities =
        sampler.Probabilities(entry.logits, ParametersOf(entry), position, entry.history);
    for (size_t token = 0; token < entry.logits.size(); ++token) {
      EXPECT_NEAR(probabilities[token], entry.probabilities[token], Tolerance(entry))
          << entry.name << ", token " << token;
      if (!entry.is_kept[token]) {
        EXPECT_EQ(probabilities[token], 0.0F) << entry.name << ", token " << token;
      } else if (entry.probabilities[token] > 1e-30F) {
        EXPECT_GT(probabilities[token], 0.0F) << entry.name << ", token " << token;
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::worker
