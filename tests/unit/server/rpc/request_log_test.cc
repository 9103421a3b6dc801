#include "server/rpc/request_log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace lockstep::server {
namespace {

TEST(RequestLog, IsOneJsonLine) {
  Completion completion;
  const absl::Time arrival = absl::FromUnixSeconds(100);
  completion.first_scheduled = arrival + absl::Milliseconds(2);
  completion.first_token = arrival + absl::Milliseconds(12);
  completion.last_token = arrival + absl::Milliseconds(112);
  RequestRecord record;
  record.method = "Generate";
  record.request_id = "r-1";
  record.reason = v1::EOS;
  record.num_prompt_tokens = 5;
  record.num_completion_tokens = 11;
  record.timing = ToTiming(completion, arrival, arrival + absl::Milliseconds(113));
  EXPECT_EQ(
      ToJsonLine(record),
      R"({"event":"request","method":"Generate","request_id":"r-1","status":"OK","reason":"EOS",)"
      R"("prompt_tokens":5,"completion_tokens":11,"cached_tokens":0,)"
      R"("queue_ms":2.0,"prefill_ms":10.0,"decode_ms":100.0,"total_ms":113.0})");
}

TEST(RequestLog, LeavesOutPhasesThatWereNotReached) {
  RequestRecord record;
  record.method = "Generate";
  record.status = absl::InvalidArgumentError("text: is\nempty");
  record.timing = ToTiming(Completion{}, absl::FromUnixSeconds(1), absl::FromUnixSeconds(2));
  const auto line = nlohmann::json::parse(ToJsonLine(record));
  EXPECT_EQ(line["status"], "INVALID_ARGUMENT");
  EXPECT_EQ(line["error"], "text: is\nempty");
  EXPECT_FALSE(line.contains("queue_ms"));
  EXPECT_EQ(line["total_ms"], 1000);
  EXPECT_EQ(ToJsonLine(record).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace lockstep::server
