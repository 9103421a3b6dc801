#include "worker/comm/nccl_sum.h"

#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace lockstep::worker {
namespace {

// Rows that are not stored: only their sizes count.
at::Tensor Rows(int64_t num_rows, int64_t n) {
  return at::empty({num_rows, n}, at::TensorOptions(at::kFloat).device(at::kMeta));
}

TEST(NcclSumTest, LargeSumsOfManyRanksAreMadeInSlices) {
  EXPECT_TRUE(SumsInSlices(Rows(64, 4096), 4));
  EXPECT_FALSE(SumsInSlices(Rows(63, 4096), 4)) << "small";
  EXPECT_FALSE(SumsInSlices(Rows(64, 4096), 2)) << "nothing is saved";
  EXPECT_FALSE(SumsInSlices(Rows(3000, 4096), 3)) << "the slices would not be equal";
}

TEST(NcclSumTest, AStepsScratchServesTheSmallerOnesToo) {
  for (const int world_size : {1, 2, 3, 4, 8, 64}) {
    const int64_t largest = SumScratch(Rows(2048, 4096), world_size);
    for (int64_t num_rows = 1; num_rows <= 2048; ++num_rows) {
      EXPECT_LE(SumScratch(Rows(num_rows, 4096), world_size), largest)
          << num_rows << " rows on " << world_size << " ranks";
    }
  }
}

TEST(NcclSumTest, ScratchForSlicesIsTheDatasSizeHoweverManyRanksThereAre) {
  constexpr int64_t kSize = int64_t{4096} * 4096;
  EXPECT_EQ(SumScratch(Rows(4096, 4096), 1), 0);
  EXPECT_EQ(SumScratch(Rows(4096, 4096), 2), 2 * kSize);
  EXPECT_EQ(SumScratch(Rows(4096, 4096), 4), kSize);
  EXPECT_EQ(SumScratch(Rows(4096, 4096), 8), kSize);
}

}  // namespace
}  // namespace lockstep::worker
