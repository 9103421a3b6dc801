#include "server/rpc/status_mapping.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

template <typename Detail>
Detail OnlyDetail(const grpc::Status& status) {
  const auto details = DetailsOf(status);
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  Detail detail;
  EXPECT_EQ(details.details_size(), 1);
  EXPECT_TRUE(details.details_size() == 1 && details.details(0).UnpackTo(&detail));
  return detail;
}

TEST(StatusMapping, KeepsCodeAndMessage) {
  const grpc::Status status = ToGrpcStatus(absl::NotFoundError("no such model"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "no such model");
  EXPECT_EQ(status.error_details(), "");
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

TEST(StatusMapping, CarriesFieldViolations) {
  const auto detail =
      OnlyDetail<google::rpc::BadRequest>(ToGrpcStatus(InvalidField("sampling.top_p", "is 2")));
  ASSERT_EQ(detail.field_violations_size(), 1);
  EXPECT_EQ(detail.field_violations(0).field(), "sampling.top_p");
  EXPECT_EQ(detail.field_violations(0).description(), "is 2");
}

TEST(StatusMapping, UnavailableAlwaysSaysWhenToRetry) {
  const auto detail =
      OnlyDetail<google::rpc::RetryInfo>(ToGrpcStatus(absl::UnavailableError("draining")));
  EXPECT_GT(detail.retry_delay().seconds(), 0);
}

TEST(StatusMapping, KeepsARetryDelayThatIsThere) {
  const auto status = WithRetryDelay(absl::UnavailableError("starting"), absl::Milliseconds(1500));
  const auto detail = OnlyDetail<google::rpc::RetryInfo>(ToGrpcStatus(status));
  EXPECT_EQ(detail.retry_delay().seconds(), 1);
  EXPECT_EQ(detail.retry_delay().nanos(), 500'000'000);
}

TEST(StatusMapping, NamesTheRequestOfAnInternalError) {
  const auto detail = OnlyDetail<google::rpc::ErrorInfo>(
      ToGrpcStatus(WithRequestId(absl::InternalError("bug"), "r-1")));
  EXPECT_EQ(detail.metadata().at("request_id"), "r-1");
  EXPECT_EQ(detail.domain(), "lockstep");
}

TEST(StatusMapping, UnknownIsOurFault) {
  EXPECT_EQ(ToGrpcStatus(absl::UnknownError("?")).error_code(), grpc::StatusCode::INTERNAL);
}

TEST(StatusMapping, CutsMessagesThatDoNotFitATrailer) {
  std::string text(1159, 'a');
  text += "é and more";
  EXPECT_EQ(ToGrpcStatus(absl::InternalError(text)).error_message(),
            std::string(1159, 'a') + "...");
}

TEST(StatusMapping, NoTextMakesMoreHeadersThanClientsTake) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "中";
  const grpc::Status status = ToGrpcStatus(InvalidField(text, text));
  // grpc-message in percent encoding, grpc-status-details-bin in base64.
  const size_t num_bytes =
      3 * status.error_message().size() + 4 * status.error_details().size() / 3 + 200;
  EXPECT_LT(num_bytes, 8192u);
  const auto detail = OnlyDetail<google::rpc::BadRequest>(status);
  ASSERT_EQ(detail.field_violations_size(), 1);
  EXPECT_GT(detail.field_violations(0).description().size(), 900u);
}

}  // namespace
}  // namespace lockstep::server
