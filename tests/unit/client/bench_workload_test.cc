#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "client/bench/workload.h"

namespace lockstep::client {
namespace {

using ::testing::HasSubstr;

TEST(PlanRequests, APoissonProcessHasItsRateAndItsVariance) {
  const auto plan = PlanRequests(20000, {}, {.rate = 4, .burstiness = 1}, 7);
  std::vector<double> gaps;
  for (size_t i = 1; i < plan.size(); ++i) gaps.push_back(plan[i].at - plan[i - 1].at);
  double mean = 0, variance = 0;
  for (double gap : gaps) mean += gap / static_cast<double>(gaps.size());
  for (double gap : gaps)
    variance += (gap - mean) * (gap - mean) / static_cast<double>(gaps.size());
  EXPECT_EQ(plan.front().at, 0);
  EXPECT_NEAR(mean, 0.25, 0.01);
  // Of an exponential distribution: the square of its mean.
  EXPECT_NEAR(variance, 0.0625, 0.005);
}

TEST(PlanRequests, LowBurstinessMakesBurstsAtTheSameRate) {
  const auto plan = PlanRequests(20000, {}, {.rate = 4, .burstiness = 0.25}, 7);
  double squares = 0;
  for (size_t i = 1; i < plan.size(); ++i) {
    const double gap = plan[i].at - plan[i - 1].at;
    squares += gap * gap / static_cast<double>(plan.size());
  }
  EXPECT_NEAR(plan.back().at / static_cast<double>(plan.size()), 0.25, 0.02);
  // Variance mean² / shape, and the mean squared.
  EXPECT_NEAR(squares, 0.0625 * 5, 0.04);
}

TEST(PlanRequests, LengthsVaryWithinTheirRangeAndRepeatForASeed) {
  const LengthOptions lengths{.input = 100, .output = 10, .range_ratio = 0.5};
  const auto plan = PlanRequests(1000, lengths, {}, 3);
  uint32_t shortest = 1000, longest = 0;
  for (const PlannedRequest& request : plan) {
    EXPECT_EQ(request.at, 0);
    shortest = std::min(shortest, request.input_tokens);
    longest = std::max(longest, request.input_tokens);
    EXPECT_GE(request.output_tokens, 5);
    EXPECT_LE(request.output_tokens, 15);
  }
  EXPECT_GE(shortest, 50);
  EXPECT_LT(shortest, 55);
  EXPECT_LE(longest, 150);
  EXPECT_GT(longest, 145);
  EXPECT_EQ(PlanRequests(1000, lengths, {}, 3).back().input_tokens, plan.back().input_tokens);
  EXPECT_EQ(PlanRequests(1, {}, {}, 3).front().input_tokens, 128);
}

absl::StatusOr<std::vector<PlannedRequest>> Read(const std::string& text) {
  std::istringstream in(text);
  return ReadTrace(in, "trace");
}

TEST(ReadTrace, TakesTheAzureTracesColumns) {
  const auto plan = Read(
      "TIMESTAMP,ContextTokens,GeneratedTokens\n"
      "2023-11-16 18:15:46.6805900,374,44\n"
      "2023-11-16 18:15:50.9951690,396,109\n\n");
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->size(), 2);
  EXPECT_EQ((*plan)[0].at, 0);
  EXPECT_NEAR((*plan)[1].at, 4.314579, 1e-6);
  EXPECT_EQ((*plan)[1].input_tokens, 396);
  EXPECT_EQ((*plan)[1].output_tokens, 109);
}

TEST(ReadTrace, PassesOverAByteOrderMark) {
  const auto plan = Read("\xEF\xBB\xBFTIMESTAMP,ContextTokens,GeneratedTokens\n0,374,44\n");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->size(), 1);
  EXPECT_TRUE(
      Read("\xEF\xBB\xBF{\"timestamp\": 0, \"input_length\": 3, \"output_length\": 4}\n").ok());
}

TEST(ReadTrace, TakesPromptsThemselves) {
  const auto plan = Read(
      "{\"timestamp\": 1, \"token_ids\": [9, 8], \"output_length\": 4}\n"
      "{\"timestamp\": 0, \"token_ids\": [7], \"input_length\": 1, \"output_length\": 3}\n");
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->size(), 2);
  EXPECT_EQ((*plan)[0].token_ids, std::vector<uint32_t>({7}));
  EXPECT_EQ((*plan)[1].token_ids, std::vector<uint32_t>({9, 8}));
  EXPECT_EQ((*plan)[1].input_tokens, 2);
  EXPECT_EQ((*plan)[1].output_tokens, 4);
}

TEST(ReadTrace, RefusesWhatIsNoPrompt) {
  for (const char* ids : {"[]", "7", "[-1]", "[1.5]", "[4294967296]", "[\"a\"]", "null"}) {
    const auto plan =
        Read(std::string("{\"timestamp\": 0, \"output_length\": 1, \"token_ids\": ") + ids + "}\n");
    ASSERT_FALSE(plan.ok()) << ids;
    EXPECT_THAT(plan.status().ToString(), HasSubstr("trace:1: \"token_ids\"")) << ids;
  }
  const auto plan =
      Read("{\"timestamp\": 0, \"input_length\": 3, \"output_length\": 1, \"token_ids\": [1]}\n");
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.status().ToString(), HasSubstr("\"input_length\" is 3, but there are 1"));
}

TEST(ReadTrace, TakesJsonLinesInAnyOrder) {
  const auto plan = Read(
      "{\"timestamp\": 12.5, \"input_length\": 7, \"output_length\": 3, \"more\": []}\n"
      "{\"output_length\": 4, \"input_length\": 8, \"timestamp\": 10}\n");
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ((*plan)[0].input_tokens, 8);
  EXPECT_EQ((*plan)[1].at, 2.5);
}

TEST(ReadTrace, NamesTheLineThatIsWrong) {
  const auto error = [](const std::string& text) {
    return std::string(Read(text).status().message());
  };
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  EXPECT_THAT(error(header + "1,2,3\nsoon,2,3\n"), HasSubstr("trace:3: the timestamp is \"soon\""));
  EXPECT_THAT(error(header + "1,0,3\n"), HasSubstr("trace:2: the lengths are \"0\""));
  EXPECT_THAT(error(header + "1,2\n"), HasSubstr("trace:2: the line has too few columns"));
  EXPECT_THAT(error("time,in,out\n1,2,3\n"), HasSubstr("lacks the column TIMESTAMP"));
  EXPECT_THAT(error("{\"timestamp\": 1}\n"),
              HasSubstr("trace:1: the object lacks \"input_length\""));
  EXPECT_THAT(error("{\"timestamp\": \n"), HasSubstr("trace:1: not a JSON object"));
  EXPECT_THAT(error(header + "inf,2,3\n"), HasSubstr("trace:2: the timestamp"));
  EXPECT_THAT(error(header), HasSubstr("no requests"));
  EXPECT_THAT(error(""), HasSubstr("no requests"));
}

}  // namespace
}  // namespace lockstep::client
