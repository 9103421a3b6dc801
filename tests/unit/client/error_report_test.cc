#include "client/error_report.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace lockstep::client {
namespace {

grpc::Status WithDetails(grpc::StatusCode code, const std::string& message,
                         const std::vector<const google::protobuf::Message*>& details) {
  google::rpc::Status rich;
  rich.set_code(code);
  rich.set_message(message);
  for (const auto* detail : details) rich.add_details()->PackFrom(*detail);
  return grpc::Status(code, message, rich.SerializeAsString());
}

google::rpc::BadRequest TopPViolation() {
  google::rpc::BadRequest bad_request;
  auto& violation = *bad_request.add_field_violations();
  violation.set_field("sampling.top_p");
  violation.set_description("1.5 is over 1");
  return bad_request;
}

TEST(ErrorReport, NamesCodeMessageAndField) {
  const auto bad_request = TopPViolation();
  const std::string text = DescribeError(
      WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "the request is not valid", {&bad_request}),
      "host:1");
  EXPECT_EQ(text,
            "error: INVALID_ARGUMENT: the request is not valid\n  sampling.top_p: 1.5 is over 1\n");
}

TEST(ErrorReport, DoesNotRepeatAViolationThatTheMessageSays) {
  const auto bad_request = TopPViolation();
  const std::string text =
      DescribeError(WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "sampling.top_p: 1.5 is over 1",
                                {&bad_request}),
                    "host:1");
  EXPECT_EQ(text, "error: INVALID_ARGUMENT: sampling.top_p: 1.5 is over 1\n");
}

TEST(ErrorReport, SaysWhenToTryAgain) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  const std::string text = DescribeError(
      WithDetails(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", {&retry}), "host:1");
  EXPECT_EQ(text, "error: RESOURCE_EXHAUSTED: the queue is full\n  try again in 0.5 s\n");
}

TEST(ErrorReport, HelpsWhenNobodyListens) {
  const std::string text =
      DescribeError(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                 "failed to connect to all addresses; Connection refused"),
                    "host:1");
  EXPECT_NE(text.find("no Lockstep server answers at host:1"), std::string::npos) << text;
  EXPECT_NE(text.find("lockstep-server --model"), std::string::npos) << text;
  EXPECT_NE(text.find("--target"), std::string::npos) << text;
}

TEST(ErrorReport, HelpsWhenTheServerHasGoneSilent) {
  for (const char* message : {"keepalive watchdog timeout", "recvmsg:Connection timed out"}) {
    const std::string text =
        DescribeError(grpc::Status(grpc::StatusCode::UNAVAILABLE, message), "host:1");
    EXPECT_NE(text.find("the server at host:1 does not answer any more"), std::string::npos)
        << text;
    EXPECT_NE(text.find("lockstep --target host:1 status"), std::string::npos) << text;
  }
}

TEST(ErrorReport, SurvivesDetailsThatAreNotAStatus) {
  const grpc::Status status(grpc::StatusCode::INTERNAL, "broken", "\xff\xff not protobuf");
  EXPECT_EQ(DescribeError(status, "host:1"), "error: INTERNAL: broken\n");
}

TEST(ErrorReport, GivesJsonWithTheFieldViolations) {
  const auto bad_request = TopPViolation();
  const auto json = nlohmann::json::parse(DescribeErrorAsJson(
      WithDetails(grpc::StatusCode::INVALID_ARGUMENT, "not valid", {&bad_request})));
  EXPECT_EQ(json["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["error"]["field_violations"][0]["field"], "sampling.top_p");
}

TEST(ErrorReport, GivesJsonWithTheRequestIdOfAnInternalError) {
  google::rpc::ErrorInfo info;
  (*info.mutable_metadata())["request_id"] = "r-17";
  const auto json = nlohmann::json::parse(
      DescribeErrorAsJson(WithDetails(grpc::StatusCode::INTERNAL, "broken", {&info})));
  EXPECT_EQ(json["error"]["metadata"]["request_id"], "r-17");
}

TEST(ErrorReport, GivesValidJsonForAMessageThatIsNotUtf8) {
  const auto json = nlohmann::json::parse(
      DescribeErrorAsJson(grpc::Status(grpc::StatusCode::INTERNAL, "not UTF-8: \xff")));
  EXPECT_EQ(json["error"]["message"], "not UTF-8: \xEF\xBF\xBD");
}

TEST(ErrorReport, NamesCodesThatItDoesNotKnow) {
  EXPECT_EQ(StatusCodeName(static_cast<grpc::StatusCode>(99)), "UNKNOWN");
  EXPECT_EQ(StatusCodeName(grpc::StatusCode::UNAUTHENTICATED), "UNAUTHENTICATED");
}

}  // namespace
}  // namespace lockstep::client
