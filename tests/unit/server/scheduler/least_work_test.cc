#include "server/scheduler/least_work.h"

#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

constexpr int32_t kMaxTokensOfStep = 1000;

TEST(LeastWork, NothingIsKnownBeforeTheFirstStep) {
  const LeastWork work(kMaxTokensOfStep);
  EXPECT_EQ(work.Estimate(500, 100), absl::ZeroDuration());
}

TEST(LeastWork, ALargeStepSaysOfASmallerOneNoMoreThanItsShare) {
  LeastWork work(kMaxTokensOfStep);
  work.Observe(800, 0, absl::Milliseconds(80));
  EXPECT_EQ(work.Estimate(8, 1), absl::Microseconds(800));
  EXPECT_EQ(work.Estimate(400, 1), absl::Milliseconds(40));
  // What comes after the prompt runs one token at a time, and none of that has been seen.
  EXPECT_EQ(work.Estimate(8, 1000), absl::Microseconds(800));
}

TEST(LeastWork, ASmallStepSaysOfALargerOneThatItTakesAsLong) {
  LeastWork work(kMaxTokensOfStep);
  work.Observe(100, 0, absl::Milliseconds(80));
  EXPECT_EQ(work.Estimate(900, 1), absl::Milliseconds(80));
  // Three full steps.
  EXPECT_EQ(work.Estimate(3000, 1), absl::Milliseconds(240));
}

TEST(LeastWork, AnswersTakeAStepOfOneTokenForEach) {
  LeastWork work(kMaxTokensOfStep);
  work.Observe(0, 32, absl::Milliseconds(9));
  EXPECT_EQ(work.Estimate(3, 10), absl::ZeroDuration());
  work.Observe(0, 1, absl::Milliseconds(5));
  work.Observe(0, 1, absl::Milliseconds(6));
  EXPECT_EQ(work.Estimate(3, 10), absl::Milliseconds(50));
}

TEST(LeastWork, TheBestRateCounts) {
  LeastWork work(kMaxTokensOfStep);
  work.Observe(100, 0, absl::Milliseconds(30));
  work.Observe(500, 100, absl::Milliseconds(60));
  work.Observe(200, 0, absl::Milliseconds(40));
  work.Observe(10, 0, absl::Microseconds(1));  // too small to say anything
  EXPECT_EQ(work.Estimate(300, 1), absl::Milliseconds(30));
}

}  // namespace
}  // namespace lockstep::server
