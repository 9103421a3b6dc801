#include <c10/core/StreamGuard.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "worker/device/compute_device.h"

namespace lockstep::worker {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

TEST(OpenDeviceTest, TheCpuIsAlwaysThereAndHasNoQueue) {
  for (const int local_rank : {0, 7}) {
    auto device = OpenDevice("cpu", {.rank = local_rank, .world_size = 8});
    ASSERT_TRUE(device.ok()) << device.status();
    EXPECT_TRUE((*device)->device().is_cpu());
    EXPECT_EQ((*device)->Describe(), "cpu");
    EXPECT_EQ((*device)->num_ranks(), 8);
    EXPECT_EQ((*device)->graph_recorder(), nullptr);
    const c10::StreamGuard guard((*device)->stream());
    EXPECT_TRUE((*device)->Synchronize().ok());
  }
}

TEST(OpenDeviceTest, TheCpusMemoryIsTheMachines) {
  const auto memory = (*OpenDevice("cpu"))->Memory();
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_GT(memory->free_bytes, uint64_t{1} << 20);
  EXPECT_GE(memory->total_bytes, memory->free_bytes);
}

TEST(OpenDeviceTest, HostBuffersAreBytesOnTheHost) {
  const at::Tensor buffer = (*OpenDevice("cpu"))->AllocateHost(100);
  EXPECT_TRUE(buffer.device().is_cpu());
  EXPECT_EQ(buffer.nbytes(), 100U);
}

TEST(OpenDeviceTest, RefusesANameThatIsNoDevice) {
  const auto device = OpenDevice("tpu");
  EXPECT_EQ(device.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(device.status().message()),
              AllOf(HasSubstr("tpu"), HasSubstr("cpu or cuda")));
}

TEST(OpenDeviceTest, AGpuThatCannotBeHadIsRefusedWithTheWayToOne) {
  const auto device = OpenDevice("cuda");
  if (device.ok()) GTEST_SKIP() << "there is " << (*device)->Describe();
  EXPECT_EQ(device.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(device.status().message()),
              AnyOf(HasSubstr("cmake --preset cuda"), HasSubstr("NVIDIA driver")));
}

}  // namespace
}  // namespace lockstep::worker
