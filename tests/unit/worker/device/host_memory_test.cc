#include "worker/device/host_memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <limits>

#include "tests/testing/temporary_directory.h"

namespace lockstep::worker {
namespace {

class ControlGroupMemoryTest : public ::testing::Test {
 protected:
  DeviceMemory Read() const { return ControlGroupMemory({directory_.path()}); }

  const testing::TemporaryDirectory directory_;
};

TEST_F(ControlGroupMemoryTest, WhatIsInUseIsTakenOffTheLimit) {
  directory_.Write("memory.max", "1000\n");
  directory_.Write("memory.current", "300\n");
  EXPECT_EQ(Read().total_bytes, 1000U);
  EXPECT_EQ(Read().free_bytes, 700U);
}

TEST_F(ControlGroupMemoryTest, PagesOfFilesAreFreeButSharedMemoryIsNot) {
  directory_.Write("memory.max", "1000\n");
  directory_.Write("memory.current", "900\n");
  directory_.Write("memory.stat",
                   "anon 200\nfile 700\nshmem 100\ninactive_file 450\nactive_file 150\n");
  EXPECT_EQ(Read().free_bytes, 700U);
}

TEST_F(ControlGroupMemoryTest, UseBeyondALimitThatWasLoweredLeavesNothing) {
  directory_.Write("memory.max", "1000\n");
  directory_.Write("memory.current", "1200\n");
  EXPECT_EQ(Read().free_bytes, 0U);
}

TEST_F(ControlGroupMemoryTest, Version1IsReadToo) {
  directory_.Write("memory.limit_in_bytes", "1000\n");
  directory_.Write("memory.usage_in_bytes", "900\n");
  directory_.Write("memory.stat",
                   "cache 300\ninactive_file 10\nactive_file 20\nhierarchical_memory_limit 1000\n"
                   "total_inactive_file 200\ntotal_active_file 50\n");
  EXPECT_EQ(Read().total_bytes, 1000U);
  EXPECT_EQ(Read().free_bytes, 350U) << "with the pages of the groups within it";
}

TEST_F(ControlGroupMemoryTest, OfSeveralGroupsTheSmallestNumberHolds) {
  directory_.Write("own/memory.max", "max\n");
  directory_.Write("own/memory.current", "100\n");
  directory_.Write("slice/memory.max", "1000\n");
  directory_.Write("slice/memory.current", "300\n");
  directory_.Write("memory.max", "2000\n");
  directory_.Write("memory.current", "1900\n");
  const std::filesystem::path top = directory_.path();
  const DeviceMemory memory = ControlGroupMemory({top / "own", top / "slice", top});
  EXPECT_EQ(memory.total_bytes, 1000U);
  EXPECT_EQ(memory.free_bytes, 100U);
}

TEST_F(ControlGroupMemoryTest, WithoutALimitThereIsNoEnd) {
  constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(Read().free_bytes, kAll) << "no control group";
  directory_.Write("memory.max", "max\n");
  directory_.Write("memory.current", "300\n");
  EXPECT_EQ(Read().total_bytes, kAll);
  EXPECT_EQ(Read().free_bytes, kAll);
}

TEST(HostMemoryTest, IsWithinTheMachines) {
  const DeviceMemory memory = HostMemory();
  EXPECT_GT(memory.free_bytes, 0U);
  EXPECT_LE(memory.free_bytes, memory.total_bytes);
  EXPECT_LT(memory.total_bytes, uint64_t{1} << 50);
}

}  // namespace
}  // namespace lockstep::worker
