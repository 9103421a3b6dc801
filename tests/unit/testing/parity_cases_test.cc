#include "tests/testing/parity_cases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace lockstep::testing {
namespace {

constexpr char kParityReference[] = LOCKSTEP_SOURCE_DIR "/tests/parity/model/reference";

TEST(ParityCasesTest, EveryPromptHasFiniteLogitsAtEveryPosition) {
  for (const ParityCase& parity_case : LoadParityCases(kParityReference)) {
    SCOPED_TRACE(parity_case.name);
    EXPECT_FALSE(parity_case.prompts.empty());
    for (const ParityPrompt& prompt : parity_case.prompts) {
      EXPECT_EQ(prompt.logits.size(),
                prompt.input_ids.size() * static_cast<size_t>(parity_case.vocab_size));
      EXPECT_TRUE(std::all_of(prompt.logits.begin(), prompt.logits.end(),
                              [](float x) { return std::isfinite(x); }));
      EXPECT_EQ(prompt.greedy_ids.size(), 24u);
      EXPECT_FALSE(prompt.inv_freq.empty());
      EXPECT_GT(prompt.bfloat16_mean_abs_error, 0.0f);
    }
  }
}

TEST(ParityCasesTest, FirstGreedyTokenIsTheArgmaxOfTheLastPosition) {
  for (const ParityCase& parity_case : LoadParityCases(kParityReference)) {
    for (const ParityPrompt& prompt : parity_case.prompts) {
      const auto last = prompt.logits.end() - parity_case.vocab_size;
      EXPECT_EQ(std::max_element(last, prompt.logits.end()) - last, prompt.greedy_ids.front())
          << parity_case.name;
    }
  }
}

TEST(ParityCasesTest, NamesAreUniqueAndEveryCheckpointIsWellFormed) {
  std::set<std::string> names;
  for (const ParityCase& parity_case : LoadParityCases(kParityReference)) {
    EXPECT_TRUE(names.insert(parity_case.name).second) << parity_case.name;
    EXPECT_TRUE(LlamaTensors(parity_case.checkpoint.config_json).ok()) << parity_case.name;
  }
  EXPECT_GE(names.size(), 50u);
}

TEST(ParityCasesDeathTest, MissingDirectoryAbortsWithItsName) {
  EXPECT_DEATH(LoadParityCases("/nonexistent"), "/nonexistent/cases.json.*cannot be opened");
}

}  // namespace
}  // namespace lockstep::testing
