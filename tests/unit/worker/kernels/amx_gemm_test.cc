// The AMX kernel on a model of the tile registers, so that its tiling is checked on processors
// without AMX.
#include <gtest/gtest.h>

#include <cstring>

#include "worker/kernels/cpu/kernel_selection.h"
#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

// Eight tiles of 16 rows of 64 bytes, and TDPBF16PS as Intel's manual describes it.
struct ModelTiles {
  static inline thread_local unsigned char tiles[8][16][64];

  template <int t>
  static void Zero() {
    std::memset(tiles[t], 0, sizeof(tiles[t]));
  }
  template <int t>
  static void Load(const void* p, int64_t stride_bytes) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(tiles[t][row], static_cast<const char*>(p) + row * stride_bytes, 64);
    }
  }
  template <int t>
  static void Store(void* p, int64_t stride_bytes) {
    for (int row = 0; row < 16; ++row) {
      std::memcpy(static_cast<char*>(p) + row * stride_bytes, tiles[t][row], 64);
    }
  }
  static float Element(int t, int row, int index) {
    uint16_t bits;
    std::memcpy(&bits, tiles[t][row] + 2 * index, 2);
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  }
  template <int tile_row, int tile_column>
  static void Dot() {
    constexpr int sums = 2 * tile_row + tile_column, rows = 4 + tile_row, columns = 6 + tile_column;
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 16; ++column) {
        float even = 0.0f, odd = 0.0f, sum;
        for (int pair = 0; pair < 16; ++pair) {
          even += Element(rows, row, 2 * pair) * Element(columns, pair, 2 * column);
          odd += Element(rows, row, 2 * pair + 1) * Element(columns, pair, 2 * column + 1);
        }
        std::memcpy(&sum, tiles[sums][row] + 4 * column, 4);
        sum += even + odd;
        std::memcpy(tiles[sums][row] + 4 * column, &sum, 4);
      }
    }
  }
};

#include "worker/kernels/cpu/gemm_amx.inl"

TEST(AmxGemmTest, TilingMatchesTheBaselineForEveryNumberOfRows) {
  EXPECT_EQ(CheckGemm(MakeAmxGemm<ModelTiles>(nullptr, nullptr), ElementType::kBFloat16), "");
}

TEST(AmxGemmTest, PackedRowsArePaddedWithZerosAndTilesWithoutRowsAreLeftAlone) {
  const BFloat16 x[3] = {{1}, {2}, {3}};
  BFloat16 packed[kAmxRowTiles * kAmxTileElements];
  std::memset(packed, 0xff, sizeof(packed));
  PackAmxRows(x, 3, 1, 3, kDepthMultiple, packed);
  for (int i = 0; i < kAmxRowTiles * kAmxTileElements; ++i) {
    EXPECT_EQ(packed[i].bits, i >= kAmxTileElements ? 0xffff : i < 3 ? i + 1 : 0) << i;
  }
}

}  // namespace
}  // namespace lockstep::worker::cpu
