// What the GPU's sampler does beyond single tokens: batches, tokens that are pending, errors.

#include "worker/sampling/device_sampler.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "tests/unit/worker/sampling/device_sampler_testing.h"

namespace lockstep::worker {
namespace {

using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> WavyLogits(size_t size, float shift = 0.0F) {
  std::vector<float> logits(size);
  for (size_t i = 0; i < size; ++i) {
    logits[i] = 2.0F * std::sin(static_cast<float>(i * i % 1009) + shift);
  }
  return logits;
}

SamplerCase GreedyCase(std::vector<float> logits) {
  SamplerCase entry;
  entry.logits = std::move(logits);
  entry.parameters.temperature = 0.0F;
  entry.history = {1, 2, 3};
  return entry;
}

TEST_P(DeviceSamplerTest, GreedyTakesTheLowestOfTheMostProbable) {
  EXPECT_EQ(SampleOne(GreedyCase({1.0F, 3.0F, 3.0F, 2.0F})), 1U);
  EXPECT_EQ(SampleOne(GreedyCase({-1.0F, -0.0F, 0.0F, -0.0F})), 1U);
  std::vector<float> far(3000, -1.0F);
  far[1023] = far[1024] = far[2047] = 0.5F;
  EXPECT_EQ(SampleOne(GreedyCase(far)), 1023U);
}

TEST_P(DeviceSamplerTest, TopPRemovesTheLowestIdsOfEquals) {
  std::vector<SamplerCase> cases(200);
  for (size_t i = 0; i < cases.size(); ++i) {
    cases[i].logits = std::vector<float>(1000, 1.0F);
    cases[i].parameters.top_p = 0.1F;
    cases[i].parameters.seed = i;
  }
  ExpectAsOnTheCpu(cases, "flat");
  const auto choices = Sample(cases);
  for (const SampledChoice& choice : choices) EXPECT_GE(choice.token_id, 900U - 1U);
}

TEST_P(DeviceSamplerTest, APendingTokenCountsAsAKnownOne) {
  std::vector<SamplerCase> cases;
  for (uint32_t token = 0; token < 8; ++token) {
    SamplerCase entry;
    entry.logits = WavyLogits(500, static_cast<float>(token));
    entry.logits[token] = 2.5F;  // the penalty decides
    entry.parameters.temperature = token % 2 == 0 ? 0.0F : 1.0F;
    entry.parameters.frequency_penalty = 1.5F;
    entry.parameters.repetition_penalty = 1.1F;
    entry.parameters.num_prompt_tokens = token < 4 ? 2 : 4;  // in the answer; in the prompt
    entry.history = {7, token, 9, token};
    entry.is_pending = true;
    cases.push_back(entry);
    entry.history = {token};  // nothing but the pending one
    entry.parameters.num_prompt_tokens = 0;
    cases.push_back(entry);
  }
  const auto pending = Sample(cases);
  ExpectAsOnTheCpu(pending, cases, "pending");
  for (SamplerCase& entry : cases) entry.is_pending = false;
  ExpectAsOnTheCpu(cases, "known");
}

TEST_P(DeviceSamplerTest, WhereEveryTokenIsForbiddenTheMinimumLengthGivesWay) {
  for (const float temperature : {0.0F, 1e-3F}) {
    SamplerCase entry = GreedyCase({9.0F, 2.0F, 1.0F});
    entry.parameters.temperature = temperature;
    entry.parameters.min_new_tokens = 10;
    entry.parameters.end_token_ids = {1, 2};
    entry.parameters.allowed_token_ids = {2, 1};
    EXPECT_EQ(SampleOne(entry), 1U);
  }
}

TEST_P(DeviceSamplerTest, WhereTheModelExcludesAllAllowedTokensTheLowestIsTaken) {
  SamplerCase entry = GreedyCase({1.0F, -kInfinity, 0.0F, -kInfinity});
  entry.parameters.allowed_token_ids = {3, 1, 900};
  EXPECT_EQ(SampleOne(entry), 1U);
}

TEST_P(DeviceSamplerTest, AMaskWinsOverWhatElseForbidsTokens) {
  SamplerCase entry = GreedyCase({5.0F, 4.0F, 3.0F, 2.0F});
  entry.mask = {0b1100};
  EXPECT_EQ(SampleOne(entry), 2U);
  entry.parameters.min_new_tokens = 10;
  entry.parameters.end_token_ids = {2, 3};
  EXPECT_EQ(SampleOne(entry), 2U);
  entry.parameters.allowed_token_ids = {0, 3};
  EXPECT_EQ(SampleOne(entry), 3U);
  entry.parameters.allowed_token_ids = {0, 1};
  EXPECT_EQ(SampleOne(entry), 2U);
  entry.logits = {5.0F, 4.0F, -kInfinity, -kInfinity};  // the model excludes all of the mask
  EXPECT_EQ(SampleOne(entry), 2U);
}

TEST_P(DeviceSamplerTest, LogitsThatAreNotFiniteAreAnErrorThatNamesTheRow) {
  const std::vector<float> good = WavyLogits(1500);
  for (const float bad : {NAN, -NAN, kInfinity}) {
    for (const size_t at : {size_t{0}, size_t{1499}}) {
      std::vector<SamplerCase> cases(3, GreedyCase(good));
      cases[1].logits[at] = bad;
      cases[1].parameters.allowed_token_ids = {5};  // does not hide it
      const auto choices = Sample(cases);
      EXPECT_FALSE(choices[0].is_broken);
      EXPECT_TRUE(choices[1].is_broken);
      EXPECT_FALSE(choices[2].is_broken);
    }
  }
  const auto none = Sample({GreedyCase(std::vector<float>(40, -kInfinity))});
  EXPECT_TRUE(none[0].is_broken);
}

TEST_P(DeviceSamplerTest, ABrokenRowLeavesTheOthersAndTheNextBatchAlone) {
  std::vector<SamplerCase> cases(3, GreedyCase(WavyLogits(100)));
  cases[1].logits[7] = NAN;
  const auto sampler = MakeSampler(3, 100);
  const EnqueuedBatch broken = Enqueue(*sampler, cases);
  ExpectAsOnTheCpu(Collect(*sampler, broken), cases, "with it");
  const at::Tensor token_ids = broken.token_ids.cpu();
  const int64_t* tokens = token_ids.const_data_ptr<int64_t>();
  EXPECT_EQ(tokens[0], tokens[2]);
  EXPECT_EQ(tokens[1], 0);  // a row of the embedding, whatever comes of it
  cases[1] = cases[0];
  const auto choices = Collect(*sampler, Enqueue(*sampler, cases));
  ExpectAsOnTheCpu(choices, cases, "after it");
}

TEST_P(DeviceSamplerTest, LogprobsAreTheModelsOwnBestFirstAndTiesByTokenId) {
  SamplerCase entry = GreedyCase({0.5F, 2.0F, 0.5F, 1.0F, 0.5F, -kInfinity});
  entry.parameters.logit_bias = {{4, 10.0F}};
  for (const int32_t num_logprobs : {0, 1, 2, 3, 4, 6, 50}) {
    entry.parameters.num_logprobs = num_logprobs;
    const auto choices = Sample({entry});
    EXPECT_EQ(choices.front().token_id, 4U);
    EXPECT_EQ(choices.front().report.rank, 3U);
    ExpectAsOnTheCpu(choices, {entry}, std::to_string(num_logprobs) + " alternatives");
  }
}

TEST_P(DeviceSamplerTest, AKnownTokenIsReportedAndNoneIsChosen) {
  std::vector<SamplerCase> cases(2);
  cases[0] = GreedyCase(WavyLogits(300));
  cases[1].logits = WavyLogits(300, 0.5F);
  cases[1].known = {.token_id = 17, .num_top = 4};
  const auto choices = Sample(cases);
  Sampler sampler;
  const auto expected = sampler.Report(cases[1].logits, 17, 4);
  EXPECT_EQ(choices[1].token_id, 17U);
  ExpectSameReport(choices[1].report, expected.report, "known");
}

TEST_P(DeviceSamplerTest, TwoBatchesMayBeUnderWayAndBuffersGrowForEither) {
  constexpr size_t kVocabSize = 64;
  const auto sampler = MakeSampler(4, kVocabSize);
  std::vector<std::vector<SamplerCase>> batches;
  for (size_t step = 0; step < 6; ++step) {
    std::vector<SamplerCase>& cases = batches.emplace_back(1 + step % 4);
    for (SamplerCase& entry : cases) {
      entry.logits = WavyLogits(kVocabSize, static_cast<float>(step));
      entry.history = std::vector<uint32_t>(1 + step * 700, static_cast<uint32_t>(step));
      entry.parameters.presence_penalty = 1.0F;
      entry.parameters.num_logprobs = static_cast<int32_t>(10 * step);
    }
  }
  EnqueuedBatch before = Enqueue(*sampler, batches[0]);
  for (size_t step = 1; step < batches.size(); ++step) {
    const EnqueuedBatch next = Enqueue(*sampler, batches[step]);
    EXPECT_NE(next.ticket, before.ticket);
    EXPECT_THROW(Enqueue(*sampler, batches[0]), c10::Error) << "a third batch";
    const auto choices = Collect(*sampler, before);
    ExpectAsOnTheCpu(choices, batches[step - 1], "step " + std::to_string(step - 1));
    before = next;
  }
}

TEST_P(DeviceSamplerTest, ABatchMayBeEmptyOrHaveMoreRowsThanRunAtOnce) {
  std::vector<SamplerCase> cases;
  for (size_t i = 0; i < 300; ++i) {
    cases.push_back(GreedyCase(WavyLogits(5, static_cast<float>(i))));
    cases.back().parameters.temperature = i % 3 == 0 ? 0.0F : 1.0F;
    cases.back().parameters.logit_bias = {{static_cast<uint32_t>(i % 5), 1.0F}};
    cases.back().parameters.seed = i;
  }
  ExpectAsOnTheCpu(cases, "300 rows");
  const auto sampler = MakeSampler(2, 5);
  at::Tensor token_ids = EmptyTensor({0}, at::kLong);
  const int ticket =
      sampler->Enqueue({}, EmptyTensor({0, 5}, at::kFloat), EmptyTensor({1}, at::kInt), token_ids);
  const auto choices = sampler->Collect(ticket);
  EXPECT_TRUE(choices.empty());
}

INSTANTIATE_TEST_SUITE_P(Cuda, DeviceSamplerTest, DeviceSamplerCases(), DeviceSamplerCaseName);

}  // namespace
}  // namespace lockstep::worker
