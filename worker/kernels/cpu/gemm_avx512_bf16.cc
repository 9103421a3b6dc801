// bfloat16 matrix products with AVX-512 BF16 dot products of pairs. Nothing may be included here
// that emits inline functions.
#include <immintrin.h>

#include <cstdint>

#include "worker/kernels/cpu/kernel_table.h"

namespace lockstep::worker::cpu {
namespace {

#include "worker/kernels/cpu/gemm_tiles.inl"

constexpr int kTileRows = 14;  // 28 accumulators, 2 vectors of weights, 1 broadcast
constexpr int kVecs = 2;       // of 16 columns of pairs
constexpr int kVecPairs = 16;
static_assert(kPanelWidth == kVecs * kVecPairs);
// The weight streams from memory when there are few rows.
constexpr int64_t kPrefetchBytes = 4096;

inline __m512bh AsPairs(__m512i bits) { return reinterpret_cast<__m512bh>(bits); }

// As GemmKernel::multiply: rows [depth / 2, kRows] pairs, panel [depth / 2, kPanelWidth] pairs.
template <int kRows>
void MultiplyTile(const uint32_t* rows, int64_t depth, const uint32_t* panel, bool accumulate,
                  float* accumulators) {
  __m512 sum[kRows][kVecs];
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      sum[row][v] = accumulate ? _mm512_loadu_ps(accumulators + row * kPanelWidth + v * kVecPairs)
                               : _mm512_setzero_ps();
    }
  }
  for (int64_t pair = 0; pair < depth / 2; ++pair, rows += kRows, panel += kPanelWidth) {
    _mm_prefetch(reinterpret_cast<const char*>(panel) + kPrefetchBytes, _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(panel) + kPrefetchBytes + 64, _MM_HINT_T0);
    const __m512bh left = AsPairs(_mm512_loadu_si512(panel));
    const __m512bh right = AsPairs(_mm512_loadu_si512(panel + kVecPairs));
#pragma GCC unroll 16
    for (int row = 0; row < kRows; ++row) {
      const __m512bh broadcast = AsPairs(_mm512_set1_epi32(static_cast<int>(rows[row])));
      sum[row][0] = _mm512_dpbf16_ps(sum[row][0], broadcast, left);
      sum[row][1] = _mm512_dpbf16_ps(sum[row][1], broadcast, right);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < kRows; ++row) {
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v)
      _mm512_storeu_ps(accumulators + row * kPanelWidth + v * kVecPairs, sum[row][v]);
  }
}

template <int kRows>
void MultiplyRows(int num_rows, const uint32_t* rows, int64_t depth, const uint32_t* panel,
                  bool accumulate, float* accumulators) {
  if constexpr (kRows > 1) {
    if (num_rows < kRows) {
      MultiplyRows<kRows - 1>(num_rows, rows, depth, panel, accumulate, accumulators);
      return;
    }
  }
  MultiplyTile<kRows>(rows, depth, panel, accumulate, accumulators);
}

void Multiply(const PackedRows& rows, const PanelBlocks& panels, const FetchAhead& /*ahead*/,
              bool accumulate, float* sums, const TileDone& done) {
  ForEachTile(rows, panels, sums, done,
              [&](const void* tile, int num_rows, const void* panel, float* tile_sums) {
                MultiplyRows<kTileRows>(num_rows, static_cast<const uint32_t*>(tile), rows.depth,
                                        static_cast<const uint32_t*>(panel), accumulate, tile_sums);
              });
}

// packed [padded_depth / 2, num_rows] pairs
void PackRows(const void* x, int64_t row_stride, int num_rows, int64_t depth, int64_t padded_depth,
              void* packed) {
  uint32_t* out = static_cast<uint32_t*>(packed);
  for (int row = 0; row < num_rows; ++row) {
    const BFloat16* in = static_cast<const BFloat16*>(x) + row * row_stride;
    int64_t pair = 0;
    for (; pair < depth / 2; ++pair) {
      uint32_t bits;
      __builtin_memcpy(&bits, in + 2 * pair, sizeof(bits));
      out[pair * num_rows + row] = bits;
    }
    if (depth % 2 != 0) out[pair++ * num_rows + row] = in[depth - 1].bits;
    for (; pair < padded_depth / 2; ++pair) out[pair * num_rows + row] = 0;
  }
}

constexpr GemmKernel kGemm = {.max_rows = kTileRows,
                              .packed_row_bytes_per_depth = sizeof(BFloat16),
                              .pads_rows = false,
                              .packs_panels = false,
                              .panels_at_once = 1,
                              .panel_block_bytes = kVectorPanelBlockBytes,
                              .pack_rows = PackRows,
                              .multiply = Multiply,
                              .enter_thread = nullptr,
                              .leave_thread = nullptr};

}  // namespace

const GemmKernel& Avx512Bf16Gemm() { return kGemm; }

}  // namespace lockstep::worker::cpu
