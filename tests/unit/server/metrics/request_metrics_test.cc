#include "server/metrics/request_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <string>

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(RequestMetrics, CountsSuccessesByReasonAndFailuresByCode) {
  prometheus::Registry registry;
  RequestMetrics metrics(registry);
  metrics.CountSuccess(v1::STOP_STRING);
  metrics.CountSuccess(v1::STOP_STRING);
  metrics.CountSuccess(v1::EOS);
  metrics.CountFailure(absl::StatusCode::kResourceExhausted);
  metrics.CountFailure(absl::StatusCode::kUnauthenticated);
  const std::string text = prometheus::TextSerializer().Serialize(registry.Collect());
  EXPECT_THAT(text, HasSubstr("lockstep_request_success_total{reason=\"stop_string\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_request_success_total{reason=\"eos\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_request_failures_total{code=\"RESOURCE_EXHAUSTED\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("lockstep_request_failures_total{code=\"UNAUTHENTICATED\"} 1\n"));
}

TEST(RequestMetrics, WhatHasNeverHappenedIsZero) {
  prometheus::Registry registry;
  const RequestMetrics metrics(registry);
  const std::string text = prometheus::TextSerializer().Serialize(registry.Collect());
  for (const char* reason : {"length", "eos", "stop_string", "stop_token", "time_limit", "aborted"})
    EXPECT_THAT(text, HasSubstr("{reason=\"" + std::string(reason) + "\"} 0\n"));
  for (const char* code : {"CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT",
                           "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNAVAILABLE"})
    EXPECT_THAT(text, HasSubstr("{code=\"" + std::string(code) + "\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("unspecified")));
}

}  // namespace
}  // namespace lockstep::server
