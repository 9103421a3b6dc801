// The GPU's sampler beside the CPU's: each parameter alone, all of them together at random, and the
// cases of the reference.

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <random>

#include "tests/testing/sampling_cases.h"
#include "tests/unit/worker/sampling/device_sampler_testing.h"
#include "tests/unit/worker/sampling/sampling_case_parameters.h"

namespace lockstep::worker {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

using Change = std::function<void(SamplingParameters&)>;

std::vector<float> RandomLogits(std::mt19937& random, size_t vocab_size, float scale, float grain) {
  std::normal_distribution<float> distribution(0.0F, scale);
  std::vector<float> logits(vocab_size);
  for (float& logit : logits) {
    logit = distribution(random);
    if (grain > 0.0F) logit = std::round(logit / grain) * grain;  // equals, and both zeros
  }
  return logits;
}

uint32_t Below(std::mt19937& random, size_t end) { return static_cast<uint32_t>(random() % end); }

template <typename T>
T OneOf(std::mt19937& random, const std::vector<T>& values) {
  return values[Below(random, values.size())];
}

// Ids of which a few are beyond the vocabulary, or come twice.
std::vector<uint32_t> RandomIds(std::mt19937& random, size_t max_size, size_t vocab_size) {
  std::vector<uint32_t> ids(1 + Below(random, max_size));
  for (uint32_t& id : ids) id = Below(random, vocab_size + 2);
  return ids;
}

std::vector<uint32_t> RandomMask(std::mt19937& random, size_t vocab_size) {
  std::vector<uint32_t> mask((vocab_size + 31) / 32);
  const uint32_t sparse = Below(random, 2) == 0 ? ~0U : 0x01010101U << Below(random, 8);
  for (uint32_t& word : mask) word = static_cast<uint32_t>(random()) & sparse;
  const uint32_t id = Below(random, vocab_size);
  mask[id / 32] |= 1U << (id % 32);
  return mask;
}

SamplerCase RandomCase(std::mt19937& random, size_t vocab_size) {
  const auto often = [&] { return Below(random, 3) == 0; };
  SamplerCase entry;
  entry.logits = RandomLogits(random, vocab_size, OneOf<float>(random, {0.1F, 1.0F, 5.0F, 40.0F}),
                              OneOf<float>(random, {0.0F, 0.0F, 0.5F}));
  if (often()) {  // as a model that excludes tokens
    for (size_t i = 1; i < vocab_size; i += 2) entry.logits[i] = kForbidden;
  }
  entry.history = RandomIds(random, 200, vocab_size);
  entry.is_pending = often();
  SamplingParameters& p = entry.parameters;
  p.seed = random();
  p.temperature = OneOf<float>(random, {0.0F, 0.3F, 0.7F, 1.0F, 2.0F, 1e-38F});
  if (often()) p.top_k = 1 + Below(random, vocab_size + 10);
  if (often()) p.top_k = 1 + Below(random, 40);
  if (often()) p.top_p = OneOf<float>(random, {0.0F, 0.1F, 0.5F, 0.9F, 0.99F, 0.9999999F});
  if (often()) p.min_p = OneOf<float>(random, {0.01F, 0.1F, 0.9F, 1.0F});
  if (often()) p.typical_p = OneOf<float>(random, {0.05F, 0.5F, 0.9F, 0.9999999F});
  if (often()) p.repetition_penalty = OneOf<float>(random, {0.0F, 0.5F, 1.3F, 1e-30F, 100.0F});
  if (often()) p.presence_penalty = OneOf<float>(random, {-1.0F, 0.5F, 3e38F});
  if (often()) p.frequency_penalty = OneOf<float>(random, {-0.5F, 0.3F, 3e38F});
  if (often()) {
    for (const uint32_t id : RandomIds(random, 20, vocab_size)) {
      p.logit_bias[id] = OneOf<float>(random, {-100.0F, 3.0F, 3e38F, -3e38F});
    }
  }
  p.num_prompt_tokens = Below(random, entry.history.size() + 1);
  if (often()) p.min_new_tokens = Below(random, 200);
  p.end_token_ids = RandomIds(random, 5, vocab_size);
  if (often()) p.allowed_token_ids = RandomIds(random, 20, vocab_size);
  if (often()) entry.mask = RandomMask(random, vocab_size);
  p.num_logprobs = OneOf<int32_t>(random, {-1, -1, 0, 1, 20, 100});
  return entry;
}

class DeviceSamplerParityTest : public DeviceSamplerTest {};

TEST_P(DeviceSamplerParityTest, EachParameterAloneChoosesTheTokensOfTheCpu) {
  const std::vector<std::pair<std::string, Change>> changes = {
      {"greedy", [](auto& p) { p.temperature = 0.0F; }},
      {"temperature", [](auto& p) { p.temperature = 0.6F; }},
      {"tiny temperature", [](auto& p) { p.temperature = 1e-38F; }},
      {"top_k", [](auto& p) { p.top_k = 7; }},
      {"top_k of one", [](auto& p) { p.top_k = 1; }},
      {"top_p", [](auto& p) { p.top_p = 0.8F; }},
      {"top_p of zero", [](auto& p) { p.top_p = 0.0F; }},
      {"min_p", [](auto& p) { p.min_p = 0.2F; }},
      {"typical_p", [](auto& p) { p.typical_p = 0.6F; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 1.7F; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = 2.0F; }},
      {"frequency_penalty", [](auto& p) { p.frequency_penalty = 0.7F; }},
      {"logit_bias", [](auto& p) { p.logit_bias = {{3, 4.0F}, {50, -9.0F}, {5000, 1.0F}}; }},
      {"allowed_token_ids", [](auto& p) { p.allowed_token_ids = {90, 4, 7, 4, 5000}; }},
      {"min_new_tokens", [](auto& p) { p.min_new_tokens = 100; }},
      {"num_logprobs", [](auto& p) { p.num_logprobs = 5; }},
  };
  for (const size_t vocab_size : {size_t{97}, size_t{1000}}) {
    std::mt19937 random(static_cast<unsigned>(vocab_size));
    for (const auto& [name, change] : changes) {
      std::vector<SamplerCase> cases(6);
      for (SamplerCase& entry : cases) {
        entry.logits = RandomLogits(random, vocab_size, 2.0F, 0.0F);
        entry.history = RandomIds(random, 60, vocab_size);
        entry.parameters.seed = random();
        entry.parameters.num_prompt_tokens = 5;
        for (uint32_t id = 0; id < 40; ++id) entry.parameters.end_token_ids.push_back(id);
        change(entry.parameters);
      }
      ExpectAsOnTheCpu(cases, name);
    }
  }
}

TEST_P(DeviceSamplerParityTest, AnyCombinationOfParametersChoosesTheTokensOfTheCpu) {
  for (const auto& [vocab_size, num_rows] :
       {std::pair<size_t, size_t>{1, 5}, {97, 100}, {1000, 50}, {1025, 20}, {32000, 2}}) {
    std::mt19937 random(static_cast<unsigned>(vocab_size) + 1);
    std::vector<SamplerCase> cases;
    while (cases.size() < num_rows) cases.push_back(RandomCase(random, vocab_size));
    ExpectAsOnTheCpu(cases, "vocabulary of " + std::to_string(vocab_size));
  }
}

TEST_P(DeviceSamplerParityTest, CasesOfTheReferenceChooseTheTokensOfTheCpu) {
  const std::vector<testing::SamplingCase> references = testing::LoadSamplingCases(
      std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "tests/parity/sampling/reference.json");
  ASSERT_GE(references.size(), 200U);
  for (const testing::SamplingCase& reference : references) {
    std::vector<SamplerCase> cases(3);
    for (size_t i = 0; i < cases.size(); ++i) {
      cases[i].logits = reference.logits;
      cases[i].history = reference.history;
      cases[i].parameters = ParametersOf(reference);
      cases[i].parameters.seed = i;
    }
    const auto choices = Sample(cases);
    ExpectAsOnTheCpu(choices, cases, reference.name);
    for (const SampledChoice& choice : choices) {
      EXPECT_TRUE(reference.is_kept[choice.token_id]) << reference.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cuda, DeviceSamplerParityTest, DeviceSamplerCases(),
                         DeviceSamplerCaseName);

}  // namespace
}  // namespace lockstep::worker
