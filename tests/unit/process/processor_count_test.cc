#include "process/processor_count.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/testing/temporary_directory.h"

namespace lockstep {
namespace {

TEST(ProcessorCount, CountsWholeProcessorsOfTheContainersQuota) {
  EXPECT_EQ(ProcessorsOfQuota("200000 100000\n"), 2);
  EXPECT_EQ(ProcessorsOfQuota("199999 100000"), 1);
  EXPECT_EQ(ProcessorsOfQuota("150000 100000"), 1);
  EXPECT_EQ(ProcessorsOfQuota("50000 100000"), 1) << "there is always one";
}

TEST(ProcessorCount, NoQuotaIsNoLimit) {
  EXPECT_EQ(ProcessorsOfQuota("max 100000"), 0);
  EXPECT_EQ(ProcessorsOfQuota(""), 0);
  EXPECT_EQ(ProcessorsOfQuota("100000 0"), 0);
}

TEST(ProcessorCount, TheSmallestQuotaOfTheGroupsHolds) {
  const testing::TemporaryDirectory groups;
  groups.Write("own/cpu.max", "max 100000\n");
  groups.Write("slice/cpu.max", "300000 100000\n");
  groups.Write("cpu.max", "400000 100000\n");
  const std::filesystem::path top = groups.path();
  EXPECT_EQ(ProcessorsOfGroups({top / "own", top / "slice", top}), 3);
  EXPECT_EQ(ProcessorsOfGroups({top / "own"}), 0);
  EXPECT_EQ(ProcessorsOfGroups({}), 0);
}

TEST(ProcessorCount, AQuotaOfVersion1Counts) {
  const testing::TemporaryDirectory group;
  group.Write("cpu.cfs_period_us", "100000\n");
  group.Write("cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(ProcessorsOfGroups({group.path()}), 2);
  group.Write("cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(ProcessorsOfGroups({group.path()}), 0);
}

TEST(ProcessorCount, ThereIsAlwaysAProcessor) {
  EXPECT_GE(NumUsableProcessors(), 1);
  EXPECT_LE(NumUsableProcessors(), AllowedProcessors().size());
}

}  // namespace
}  // namespace lockstep
