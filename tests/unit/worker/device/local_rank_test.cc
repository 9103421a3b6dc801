#include "worker/device/local_rank.h"

#include <gtest/gtest.h>

#include <vector>

namespace lockstep::worker {
namespace {

TEST(LocalRankTest, RanksThatSeeTheSameGpusDivideThemWhereThereAreFewer) {
  // By number of GPUs: which one each of four ranks takes, and with how many.
  const struct {
    int num_gpus;
    std::vector<int> gpus;
    std::vector<int> num_ranks;
  } kCases[] = {{1, {0, 0, 0, 0}, {4, 4, 4, 4}},
                {2, {0, 1, 0, 1}, {2, 2, 2, 2}},
                {3, {0, 1, 2, 0}, {2, 1, 1, 2}},
                {4, {0, 1, 2, 3}, {1, 1, 1, 1}},
                {8, {0, 1, 2, 3}, {1, 1, 1, 1}}};
  for (const auto& [num_gpus, gpus, num_ranks] : kCases) {
    for (int rank = 0; rank < 4; ++rank) {
      const LocalRank local = {.rank = rank, .world_size = 4, .sees_the_others_gpus = true};
      EXPECT_EQ(GpuIndex(local, num_gpus), gpus[static_cast<size_t>(rank)]) << num_gpus;
      EXPECT_EQ(NumRanksOnGpu(local, num_gpus), num_ranks[static_cast<size_t>(rank)]) << num_gpus;
    }
  }
}

TEST(LocalRankTest, AnOnlyGpuThatAPlatformGaveIsTheRanksOwn) {
  for (int rank = 0; rank < 4; ++rank) {
    const LocalRank local = {.rank = rank, .world_size = 4};
    EXPECT_EQ(GpuIndex(local, 1), 0);
    EXPECT_EQ(NumRanksOnGpu(local, 1), 1) << rank;
  }
}

}  // namespace
}  // namespace lockstep::worker
