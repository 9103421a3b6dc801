#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/bench/report.h"
#include "client/bench/summary.h"
#include "nlohmann/json.hpp"

namespace lockstep::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sent at 1 s; the first token after `ttft`, four more, each after `gap`.
Measured Completed(double ttft, double gap) {
  Measured request;
  request.intended = 1;
  request.first_token = 1 + ttft;
  request.last_token = request.first_token + 4 * gap;
  request.gaps.assign(4, static_cast<float>(gap));
  request.input_tokens = 10;
  request.output_tokens = 5;
  request.finished = true;
  return request;
}

Measured Failed(grpc::StatusCode code, const char* message) {
  Measured request;
  request.status = grpc::Status(code, message);
  return request;
}

TEST(Describe, InterpolatesBetweenRanksAsNumpyDoes) {
  std::vector<double> values = {4, 1, 3, 2};
  const Distribution described = Describe(values);
  EXPECT_EQ(described.count, 4);
  EXPECT_DOUBLE_EQ(described.mean, 2.5);
  EXPECT_DOUBLE_EQ(described.p50, 2.5);
  EXPECT_DOUBLE_EQ(described.p90, 3.7);
  EXPECT_DOUBLE_EQ(described.p99, 3.97);
  EXPECT_DOUBLE_EQ(described.max, 4);
  std::vector<double> none;
  EXPECT_EQ(Describe(none).count, 0);
}

TEST(ParseObjective, TakesMillisecondsAndNamesWhatIsWrong) {
  const auto objective = ParseObjective("ttft:500,e2el:2000");
  ASSERT_TRUE(objective.ok());
  EXPECT_EQ(objective->ttft, 0.5);
  EXPECT_FALSE(objective->tpot.has_value());
  EXPECT_EQ(objective->e2el, 2);
  EXPECT_TRUE(ParseObjective("")->empty());
  for (const char* wrong : {"ttft", "ttft:", "ttft:-1", "latency:3", "ttft:abc"}) {
    EXPECT_THAT(ParseObjective(wrong).status().message(), HasSubstr(wrong)) << wrong;
  }
}

TEST(Summarize, LatenciesCountFromTheIntendedTime) {
  const Summary summary = Summarize({{Completed(0.2, 0.01), Completed(0.4, 0.03)}, 2}, {});
  EXPECT_EQ(summary.completed, 2);
  EXPECT_EQ(summary.output_tokens, 10);
  EXPECT_DOUBLE_EQ(summary.ttft.mean, 0.3);
  EXPECT_NEAR(summary.tpot.mean, 0.02, 1e-9);
  EXPECT_EQ(summary.itl.count, 8);
  EXPECT_NEAR(summary.e2el.max, 0.4 + 0.12, 1e-9);
}

TEST(Summarize, GoodRequestsKeepEveryLimit) {
  const std::vector<Measured> requests = {Completed(0.2, 0.01), Completed(0.2, 0.05),
                                          Completed(0.6, 0.01)};
  const auto good = [&requests](const char* text) {
    return Summarize({requests, 1}, *ParseObjective(text)).good;
  };
  EXPECT_EQ(good("ttft:500"), 2);
  EXPECT_EQ(good("ttft:500,tpot:20"), 1);
  EXPECT_EQ(good("e2el:300"), 1);
  EXPECT_EQ(good("ttft:1000,tpot:100,e2el:1000"), 3);
}

TEST(Summarize, WhatIsNotAWholeAnswerIsCountedAndNamed) {
  Measured unfinished = Completed(0.1, 0.1);
  unfinished.finished = false;
  const std::vector<Measured> requests = {
      Completed(0.1, 0.1), Failed(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"),
      Failed(grpc::StatusCode::UNAVAILABLE, "gone"), unfinished,
      Failed(grpc::StatusCode::CANCELLED, "")};
  const Summary summary = Summarize({requests, 1}, {});
  EXPECT_EQ(summary.sent, 5);
  EXPECT_EQ(summary.completed, 1);
  EXPECT_EQ(summary.refused, 1);
  EXPECT_EQ(summary.failed, 3);
  EXPECT_THAT(summary.failures, ElementsAre("UNAVAILABLE: gone", HasSubstr("without a finished"),
                                            HasSubstr("CANCELLED")));
  // Those that the interrupt has cancelled are no failures.
  EXPECT_EQ(Summarize({requests, 1, true}, {}).cancelled, 1);
}

TEST(Report, JsonIsOneLineAlsoForATracesNameThatIsNotUtf8) {
  const std::string json = ReportAsJson({BenchRun{"\xFF.csv", {}, {}}, BenchRun{}}, kOneLine);
  EXPECT_EQ(json.find('\n'), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(json)["runs"][0]["name"], "\uFFFD.csv");
}

TEST(Report, JsonHasEveryFigureAndTheChartACurvePerRun) {
  BenchRun run{"4 requests/s <&>", *ParseObjective("ttft:300"), {}};
  run.summary = Summarize({{Completed(0.2, 0.01), Completed(0.4, 0.03)}, 2}, run.objective);
  const auto json = nlohmann::json::parse(ReportAsJson({run, run}, kOneLine));
  ASSERT_EQ(json["runs"].size(), 2);
  EXPECT_EQ(json["runs"][0]["requests"]["completed"], 2);
  EXPECT_EQ(json["runs"][0]["good_requests"], 1);
  EXPECT_EQ(json["runs"][0]["goodput_requests_per_second"], 0.5);
  EXPECT_EQ(json["runs"][0]["output_tokens_per_second"], 5);
  const std::string svg = DrawLatencies({run, run});
  size_t num_curves = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos;
       at = svg.find("<polyline", at + 1)) {
    ++num_curves;
  }
  EXPECT_EQ(num_curves, 4);
  EXPECT_THAT(svg, HasSubstr("4 requests/s &lt;&amp;&gt;: 5.0 tokens/s"));
  EXPECT_THAT(DrawLatencies({BenchRun{}}), HasSubstr("</svg>"));
}

}  // namespace
}  // namespace lockstep::client
