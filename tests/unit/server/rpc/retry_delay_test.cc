// How long clients are told to wait when the queue is full.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "server/admission/field_error.h"
#include "server/rpc/service_context.h"
#include "tests/unit/server/admission/byte_text_model.h"
#include "tests/unit/server/metrics/idle_engine.h"

namespace lockstep::server {
namespace {

class RetryDelay : public ::testing::Test {
 protected:
  // What the status says; nothing where it is not worth while to try again.
  std::optional<absl::Duration> DelayOf(const absl::Status& status) {
    const absl::Status with_delay = WithRetryIfUseful(context_, status);
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
  IdleEngine engine_;

 private:
  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
  const ServedModel model_{"bytes", kByteVocabSize, 64, {}};
  Admission admission_{model_, *text_, 8};
  Intake intake_{1};
  Executor delivery_{1};
  GuideLibrary guides_{*text_, kByteVocabSize, {kByteEos}};
  ServiceContext context_{engine_, *text_, admission_, intake_, delivery_, guides_};
};

TEST_F(RetryDelay, IsWhatHalfOfTheQueueTakes) {
  engine_.snapshot.queue_delay = absl::Seconds(7);
  EXPECT_EQ(DelayOf(full_), absl::Milliseconds(3500));
  engine_.snapshot.queue_delay = absl::Milliseconds(640);
  EXPECT_EQ(DelayOf(full_), absl::Milliseconds(320));
}

TEST_F(RetryDelay, IsBounded) {
  engine_.snapshot.queue_delay = absl::Milliseconds(1);
  EXPECT_EQ(DelayOf(full_), absl::Milliseconds(100));
  engine_.snapshot.queue_delay = absl::Hours(1);
  EXPECT_EQ(DelayOf(full_), absl::Minutes(1));
}

TEST_F(RetryDelay, IsASecondWhileNothingIsKnown) { EXPECT_EQ(DelayOf(full_), absl::Seconds(1)); }

TEST_F(RetryDelay, IsAboutAFullQueueAlone) {
  EXPECT_EQ(DelayOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(DelayOf(absl::InvalidArgumentError("text: is empty")), std::nullopt);
}

}  // namespace
}  // namespace lockstep::server
