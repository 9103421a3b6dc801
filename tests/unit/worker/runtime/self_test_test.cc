#include "worker/runtime/self_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/comm/local_communicator.h"

namespace lockstep::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(SelfTestTest, ASpeedIsSaidInWords) {
  const CollectiveSpeed speed = {.small = std::chrono::microseconds(12), .bytes_per_second = 4.2e9};
  EXPECT_EQ(DescribeSpeed(speed, 2),
            "a sum over 2 ranks takes 12 us for 16 KiB, and 8 MiB go at 4.2 GB/s");
}

TEST(SelfTestTest, ASumThatIsMuchTooSlowHasALikelyReason) {
  CollectiveSpeed speed = {.small = std::chrono::milliseconds(4), .bytes_per_second = 1e8};
  EXPECT_THAT(DescribeSpeed(speed, 4), Not(HasSubstr("share cores")));
  speed.small = std::chrono::milliseconds(6);
  EXPECT_THAT(DescribeSpeed(speed, 4), HasSubstr("ranks share cores or a GPU"));
}

TEST(SelfTestTest, SumsAreMeasured) {
  LocalCommunicator alone;
  const auto speed = MeasureCollectives(alone, at::kCPU);
  ASSERT_TRUE(speed.ok()) << speed.status();
  EXPECT_GE(speed->small.count(), 0.0);
  EXPECT_GT(speed->bytes_per_second, 0.0);
}

TEST(SelfTestTest, AnAbortEndsTheMeasurement) {
  LocalCommunicator alone;
  alone.Abort();
  EXPECT_EQ(MeasureCollectives(alone, at::kCPU).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace lockstep::worker
