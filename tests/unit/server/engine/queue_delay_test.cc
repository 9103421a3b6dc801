#include "server/engine/queue_delay.h"

#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

absl::Time At(int ms) { return absl::FromUnixMillis(ms); }

TEST(QueueDelay, NothingIsKnownBeforeTwoHaveLeftAQueue) {
  QueueDelay delay;
  EXPECT_EQ(delay.Estimate(At(0), 5), std::nullopt);
  delay.OnScheduled(At(0), 3);
  EXPECT_EQ(delay.Estimate(At(10), 3), std::nullopt);
  delay.OnScheduled(At(20), 2);
  EXPECT_EQ(delay.Estimate(At(20), 10), absl::Milliseconds(200));
}

TEST(QueueDelay, TimesWithoutAQueueDoNotCount) {
  QueueDelay delay;
  delay.OnScheduled(At(0), 1);
  delay.OnScheduled(At(10), 0);
  delay.OnScheduled(At(90'000), 1);
  delay.OnScheduled(At(90'030), 1);
  EXPECT_EQ(delay.Estimate(At(90'030), 10), absl::Milliseconds(200));
}

TEST(QueueDelay, SeveralOfOneStepShareItsTime) {
  QueueDelay delay;
  for (int step = 0; step < 50; ++step) {
    for (int i = 0; i < 4; ++i) delay.OnScheduled(At(step * 100), 9);
  }
  const absl::Duration estimate = *delay.Estimate(At(4900), 40);
  EXPECT_GT(estimate, absl::Milliseconds(900));
  EXPECT_LT(estimate, absl::Milliseconds(1100));
}

TEST(QueueDelay, FollowsWhatTheQueueDoesNow) {
  QueueDelay delay;
  int now = 0;
  for (int i = 0; i < 200; ++i) delay.OnScheduled(At(now += 10), 1);
  for (int i = 0; i < 200; ++i) delay.OnScheduled(At(now += 50), 1);
  const absl::Duration estimate = *delay.Estimate(At(now), 1);
  EXPECT_GT(estimate, absl::Milliseconds(48));
  EXPECT_LE(estimate, absl::Milliseconds(50));
}

TEST(QueueDelay, AQueueThatStandsStillIsNoticed) {
  QueueDelay delay;
  delay.OnScheduled(At(0), 1);
  delay.OnScheduled(At(10), 1);
  EXPECT_EQ(delay.Estimate(At(5010), 2), absl::Seconds(5));
}

}  // namespace
}  // namespace lockstep::server
