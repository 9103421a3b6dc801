#include "worker/runtime/self_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/comm/local_communicator.h"
#include "worker/comm/nccl_sum.h"
#include "worker/device/cpu_device.h"

namespace lockstep::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kTimeout = absl::Seconds(60);

// Rank 0 of four, whose data differ by a factor. With `slices_swapped` it puts the second and the
// third rank's part of a sum into each other's place.
class FourRanks : public LocalCommunicator {
 public:
  FourRanks(ComputeDevice& device, bool slices_swapped)
      : LocalCommunicator(device, kTimeout), slices_swapped_(slices_swapped) {}
  int world_size() const override { return 4; }
  absl::Status AllReduceSum(at::Tensor& data) override {
    data.mul_(1 + 2 + 3 + 4);
    if (slices_swapped_ && SumsInSlices(data, world_size())) {
      const at::Tensor slices = data.view({world_size(), -1});
      const at::Tensor second = slices[1].clone();
      slices[1].copy_(slices[2]);
      slices[2].copy_(second);
    }
    return absl::OkStatus();
  }

 private:
  const bool slices_swapped_;
};

TEST(SelfTestTest, ASumWhosePartsComeToTheWrongPlaceIsFound) {
  CpuDevice cpu;
  FourRanks right(cpu, /*slices_swapped=*/false);
  EXPECT_TRUE(TestCollectives(right, at::kCPU).ok());
  FourRanks wrong(cpu, /*slices_swapped=*/true);
  const absl::Status status = TestCollectives(wrong, at::kCPU);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("self-test: an all-reduce of 262144 elements gave"));
}

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
  CpuDevice cpu;
  LocalCommunicator alone(cpu, kTimeout);
  const auto speed = MeasureCollectives(alone, at::kCPU);
  ASSERT_TRUE(speed.ok()) << speed.status();
  EXPECT_GE(speed->small.count(), 0.0);
  EXPECT_GT(speed->bytes_per_second, 0.0);
}

TEST(SelfTestTest, AnAbortEndsTheMeasurement) {
  CpuDevice cpu;
  LocalCommunicator alone(cpu, kTimeout);
  alone.Abort();
  EXPECT_EQ(MeasureCollectives(alone, at::kCPU).status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace lockstep::worker
