#include "server/metrics/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <utility>

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

class EngineMetricsTest : public ::testing::Test {
 protected:
  std::string Text() { return prometheus::TextSerializer().Serialize(registry_.Collect()); }

  // Of a series, by its name and labels.
  double Value(const std::string& series) {
    const std::string text = Text();
    const size_t line = text.find("\n" + series + " ");
    EXPECT_NE(line, std::string::npos) << series;
    return line == std::string::npos ? -1 : std::stod(text.substr(line + series.size() + 2));
  }

  void EndRequest(absl::Status status = absl::OkStatus(),
                  worker::v1::LogitsRequest logits = worker::v1::LOGITS_NONE) {
    EngineRequest request;
    request.logits = logits;
    request.prompt = {1, 2, 3};
    request.arrival = start_;
    Completion completion;
    completion.status = std::move(status);
    completion.num_completion_tokens = 4;
    completion.first_scheduled = start_ + absl::Milliseconds(1);
    completion.first_token = start_ + absl::Milliseconds(4);
    completion.last_token = start_ + absl::Milliseconds(40);
    metrics_.OnRequestDone(request, completion, start_ + absl::Milliseconds(41));
  }

  const absl::Time start_ = absl::FromUnixSeconds(100);
  prometheus::Registry registry_;
  EngineMetrics metrics_{registry_};
};

TEST_F(EngineMetricsTest, SplitsTokenLatenciesIntoFirstAndFollowing) {
  metrics_.OnToken(true, absl::Milliseconds(20));
  metrics_.OnToken(false, absl::Microseconds(400));
  EXPECT_THAT(Text(), HasSubstr("lockstep_time_to_first_token_seconds_count 1\n"));
  EXPECT_DOUBLE_EQ(Value("lockstep_time_to_first_token_seconds_sum"), 0.02);
  EXPECT_THAT(Text(), HasSubstr("lockstep_inter_token_latency_seconds_bucket{le=\"0.0005\"} 1\n"));
  EXPECT_DOUBLE_EQ(Value("lockstep_inter_token_latency_seconds_sum"), 0.0004);
}

TEST_F(EngineMetricsTest, TimesOfAFailedRequestOnlyItsWait) {
  EndRequest();
  EndRequest();
  EndRequest(absl::CancelledError(""));
  EXPECT_THAT(Text(), HasSubstr("lockstep_e2e_request_latency_seconds_count 2\n"));
  EXPECT_THAT(Text(), HasSubstr("lockstep_request_queue_time_seconds_count 3\n"));
  EXPECT_THAT(Text(), HasSubstr("lockstep_request_prompt_tokens_sum 6\n"));
}

TEST_F(EngineMetricsTest, SplitsARequestsTimeIntoItsParts) {
  EndRequest();
  EXPECT_DOUBLE_EQ(Value("lockstep_request_queue_time_seconds_sum"), 0.001);
  EXPECT_DOUBLE_EQ(Value("lockstep_request_prefill_time_seconds_sum"), 0.003);
  EXPECT_DOUBLE_EQ(Value("lockstep_request_decode_time_seconds_sum"), 0.036);
  EXPECT_DOUBLE_EQ(Value("lockstep_e2e_request_latency_seconds_sum"), 0.041);
  EXPECT_EQ(Value("lockstep_request_prompt_tokens_sum"), 3);
  EXPECT_EQ(Value("lockstep_request_generation_tokens_sum"), 4);
}

TEST_F(EngineMetricsTest, AForwardPassHasNoAnswerToCount) {
  EndRequest(absl::OkStatus(), worker::v1::LOGITS_LAST);
  EXPECT_EQ(Value("lockstep_request_prompt_tokens_sum"), 3);
  EXPECT_EQ(Value("lockstep_request_generation_tokens_count"), 0);
}

TEST_F(EngineMetricsTest, TimesCancellationsUntilTheirPlaceIsFree) {
  metrics_.OnCancelFreed(absl::Milliseconds(20));
  EXPECT_EQ(Value("lockstep_cancel_to_free_seconds_count"), 1);
  EXPECT_DOUBLE_EQ(Value("lockstep_cancel_to_free_seconds_sum"), 0.02);
}

TEST_F(EngineMetricsTest, TellsPhasesOfStepsApart) {
  metrics_.OnStepDone({1, absl::Milliseconds(3), 10, 0});
  metrics_.OnStepDone({2, absl::Milliseconds(4), 0, 4});
  metrics_.OnStepDone({3, absl::Milliseconds(5), 10, 4});
  metrics_.OnStepDone({4, absl::Milliseconds(6), 0, 4});
  EXPECT_THAT(Text(), HasSubstr("lockstep_step_duration_seconds_count{phase=\"prefill\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("lockstep_step_duration_seconds_count{phase=\"decode\"} 2\n"));
  EXPECT_THAT(Text(), HasSubstr("lockstep_step_duration_seconds_count{phase=\"mixed\"} 1\n"));
  EXPECT_DOUBLE_EQ(Value("lockstep_step_duration_seconds_sum{phase=\"prefill\"}"), 0.003);
  EXPECT_DOUBLE_EQ(Value("lockstep_step_duration_seconds_sum{phase=\"decode\"}"), 0.010);
  EXPECT_DOUBLE_EQ(Value("lockstep_step_duration_seconds_sum{phase=\"mixed\"}"), 0.005);
  EXPECT_THAT(Text(), HasSubstr("lockstep_step_tokens_sum 32\n"));
}

TEST_F(EngineMetricsTest, CountsTokensThatAreRunAgain) {
  EXPECT_THAT(Text(), HasSubstr("lockstep_recomputed_tokens_total 0\n"));
  StepSummary step;
  step.num_prefill_tokens = 16;
  step.num_recomputed_tokens = 9;
  metrics_.OnStepDone(step);
  EXPECT_THAT(Text(), HasSubstr("lockstep_recomputed_tokens_total 9\n"));
}

}  // namespace
}  // namespace lockstep::server
