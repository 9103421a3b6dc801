// The AMX kernel on a model of the tile registers, so that its tiling is checked on processors
// without AMX.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/worker/kernels/amx_model_tiles.h"
#include "worker/kernels/cpu/kernel_selection.h"
#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/amx_layout.inl"
//
#include "worker/kernels/cpu/gemm_amx.inl"

TEST(AmxGemmTest, TilingMatchesTheBaselineForEveryNumberOfRows) {
  EXPECT_EQ(CheckGemm(MakeAmxGemm<ModelTiles>(nullptr, nullptr), ElementType::kBFloat16), "");
}

TEST(AmxGemmTest, PackedRowsArePaddedWithZeros) {
  const BFloat16 x[3] = {{1}, {2}, {3}};
  BFloat16 packed[kAmxTileElements];
  std::memset(packed, 0xff, sizeof(packed));
  PackAmxRows(x, 3, 1, 3, kDepthMultiple, packed);
  for (int i = 0; i < kAmxTileElements; ++i) EXPECT_EQ(packed[i].bits, i < 3 ? i + 1 : 0) << i;
}

}  // namespace
}  // namespace lockstep::worker::cpu
