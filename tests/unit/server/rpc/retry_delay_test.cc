// How long clients are told to wait when the queue is full.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "server/admission/field_error.h"
#include "server/rpc/service_context.h"
#include "tests/unit/server/rpc/test_context.h"

namespace lockstep::server {
namespace {

class RetryDelay : public ::testing::Test {
 protected:
  // What the status says; nothing where it is not worth while to try again.
  std::optional<absl::Duration> DelayOf(const absl::Status& status) {
    const absl::Status with_delay = WithRetryIfUseful(*context_, status);
    EXPECT_EQ(with_delay.code(), status.code());
    EXPECT_EQ(with_delay.message(), status.message());
    const auto payload = with_delay.GetPayload(kRetryInfoUrl);
    if (!payload.has_value()) return std::nullopt;
    google::rpc::RetryInfo retry;
    EXPECT_TRUE(retry.ParseFromString(std::string(*payload)));
    return absl::Seconds(retry.retry_delay().seconds()) +
           absl::Nanoseconds(retry.retry_delay().nanos());
  }

  const absl::Status full_ = absl::ResourceExhaustedError("the queue is full");
  TestContext context_;
};

TEST_F(RetryDelay, IsWhatHalfOfTheQueueTakes) {
  context_.engine().snapshot.queue_delay = absl::Seconds(7);
  EXPECT_EQ(DelayOf(full_), absl::Milliseconds(3500));
  context_.engine().snapshot.queue_delay = absl::Milliseconds(640);
  EXPECT_EQ(DelayOf(full_), absl::Milliseconds(320));
}

TEST_F(RetryDelay, IsBounded) {
  context_.engine().snapshot.queue_delay = absl::Milliseconds(1);
  EXPECT_EQ(DelayOf(full_), absl::Milliseconds(100));
  context_.engine().snapshot.queue_delay = absl::Hours(1);
  EXPECT_EQ(DelayOf(full_), absl::Minutes(1));
}

TEST_F(RetryDelay, IsASecondWhileNothingIsKnown) { EXPECT_EQ(DelayOf(full_), absl::Seconds(1)); }

TEST_F(RetryDelay, IsAboutAFullQueueAlone) {
  EXPECT_EQ(DelayOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(DelayOf(absl::InvalidArgumentError("text: is empty")), std::nullopt);
}

}  // namespace
}  // namespace lockstep::server
