#include <ATen/ops/full.h>
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

TEST(OpenDeviceTest, ColumnsAreCopiedAndThoseBehindThemStay) {
  for (const char* name : {"cpu", "cuda"}) {
    const auto device = OpenDevice(name);
    if (!device.ok()) continue;  // there is no GPU
    const c10::StreamGuard guard((*device)->stream());
    at::Tensor from = (*device)->AllocateHost(3 * 1000 * 4).view(at::kInt).view({3, 1000});
    for (int i = 0; i < 3000; ++i) from.data_ptr<int32_t>()[i] = i;
    at::Tensor to =
        at::full({3, 1000}, -1, at::TensorOptions(at::kInt).device((*device)->device()));
    (*device)->CopyColumns(from, 17, to);
    ASSERT_TRUE((*device)->Synchronize().ok());
    const at::Tensor there = to.cpu();
    for (int i = 0; i < 3000; ++i) {
      ASSERT_EQ(there.data_ptr<int32_t>()[i], i % 1000 < 17 ? i : -1) << name << ", " << i;
    }
  }
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
