#include "worker/comm/poll.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/wall_clock.h"

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(PollUntilTest, EndsWhenWhatItAsksForIsThere) {
  int num_calls = 0;
  const auto is_done = [&]() -> absl::StatusOr<bool> { return ++num_calls == 1000; };
  EXPECT_TRUE(PollUntil(is_done, absl::Seconds(60), "a thing").ok());
  EXPECT_EQ(num_calls, 1000);
}

TEST(PollUntilTest, EndsWithTheErrorThatItIsGiven) {
  int num_calls = 0;
  const auto is_done = [&]() -> absl::StatusOr<bool> {
    if (++num_calls == 3) return absl::UnavailableError("gone");
    return false;
  };
  EXPECT_EQ(PollUntil(is_done, absl::Seconds(60), "a thing"), absl::UnavailableError("gone"));
}

TEST(PollUntilTest, EndsAtTheDeadlineAndSaysWhatHasNotHappened) {
  const absl::Status status =
      PollUntil([]() -> absl::StatusOr<bool> { return false; }, absl::Milliseconds(3), "a thing");
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("a thing"), HasSubstr("3ms")));
}

TEST(PollUntilTest, AStepOfTheWallClockIsNoTimeout) {
  int num_calls = 0;
  const auto is_done = [&]() -> absl::StatusOr<bool> {
    testing::StepWallClock(num_calls++ == 0 ? absl::Hours(1) : -absl::Hours(1));
    return num_calls == 2;
  };
  EXPECT_EQ(PollUntil(is_done, absl::Seconds(60), "a thing"), absl::OkStatus());
}

TEST(PollUntilTest, AsksOnceEvenWithoutTime) {
  EXPECT_TRUE(
      PollUntil([]() -> absl::StatusOr<bool> { return true; }, absl::ZeroDuration(), "it").ok());
}

}  // namespace
}  // namespace lockstep::worker
