#ifndef LOCKSTEP_WORKER_KERNELS_CPU_KERNEL_TABLE_H_
#define LOCKSTEP_WORKER_KERNELS_CPU_KERNEL_TABLE_H_

#include <cstdint>

#include "worker/kernels/cpu/element_types.h"

// The border between the ops (compiled for the baseline) and the kernels (compiled once per
// instruction set): plain functions over raw pointers. Strides are in elements unless they say
// bytes.
namespace lockstep::worker::cpu {

// GemmKernel::panel_block_bytes for kernels on vector registers.
inline constexpr int64_t kVectorPanelBlockBytes = 32 * 1024;

// Panels that are multiplied at once.
inline constexpr int kMaxPanels = 2;

// Memory to fetch into the second-level cache while a block is multiplied: the weights and a share
// of the packed rows that are multiplied next. From memory and from the third-level cache their way
// takes as long as the products of a few tiles.
struct FetchAhead {
  struct Bytes {
    const char* begin = nullptr;
    int64_t num = 0;
  };
  Bytes weights[kMaxPanels];
  Bytes rows;
};

// A block of depth of rows of x as GemmKernel::pack_rows leaves them: one tile after the other.
struct PackedRows {
  const void* tiles;
  int64_t tile_bytes;
  int64_t num_rows;
  int64_t rows_per_tile;  // but of the last tile
  int64_t depth;          // a multiple of kDepthMultiple but for the last block's
};

// A block of depth of one or more panels.
struct PanelBlocks {
  const void* weights[kMaxPanels];  // [depth, kPanelWidth] each
  int num_panels;
  int64_t sums_stride;  // elements from one panel's sums to the next one's
};

// Called once the sums of a tile are there, of all panels; null when nobody waits for them.
struct TileDone {
  void (*call)(const void* context, int64_t tile) = nullptr;
  const void* context = nullptr;
};

// A matrix product kernel for one weight type. Rows of x are first packed in tiles of `max_rows`,
// then multiplied by one panel of the weight at a time. Every accumulator adds its products in the
// order of the depth, so the blocking over rows, panels and depth does not change a bit of the
// result.
struct GemmKernel {
  int max_rows;                    // rows per tile
  int packed_row_bytes_per_depth;  // in a packed tile
  bool pads_rows;      // a packed tile has room for max_rows, even with fewer rows, and sums
                       // are written for more rows than there are
  bool packs_panels;   // packed rows of a tile are [depth / kPanelWidth, max_rows, kPanelWidth], of
                       // the weight's type
  int panels_at_once;  // as many as `multiply` takes best
  int64_t panel_block_bytes;  // of a panel that stay in the first-level cache while one tile after
                              // the other is multiplied by them

  // Packs num_rows <= max_rows rows of a block of depth, x [num_rows, depth], for `multiply`,
  // filling up to padded_depth with zeros.
  void (*pack_rows)(const void* x, int64_t row_stride, int num_rows, int64_t depth,
                    int64_t padded_depth, void* packed);

  // For each panel sums [rows of whole tiles, kPanelWidth] = or += rows · panel, of one block, one
  // tile of rows after the other. `ahead` is a hint.
  void (*multiply)(const PackedRows& rows, const PanelBlocks& panels, const FetchAhead& ahead,
                   bool accumulate, float* sums, const TileDone& done);

  // Called on each thread around a run of `multiply`; null when nothing is to be done.
  void (*enter_thread)();
  void (*leave_thread)();
};

// Where a tile's sums go: rows of one panel of a matrix.
struct StoreTarget {
  int64_t num_rows;
  int64_t num_columns;  // at most kPanelWidth
  ElementType type;
  void* out;  // [num_rows, num_columns]
  int64_t out_stride;
  // Written around the caches; for kPanelWidth columns of float32 in whole cache lines alone.
  bool past_caches = false;
};

// Some query rows of one sequence, and some neighbouring heads of the cache with the query heads
// that share them.
struct AttentionTask {
  const void* q;     // first row and head; a row's heads of head_dim lie side by side, those of one
                     // cache head together
  int64_t q_stride;  // from one query row to the next
  void* out;         // as q
  int64_t out_stride;
  int num_query_rows;
  int num_kv_heads;
  int group_size;  // query heads per cache head
  int head_dim;
  int64_t first_position;  // of query row 0
  int64_t context_length;  // tokens in the cache; first_position + num_query_rows <= context_length
  const void* key_cache;   // + block · block_stride: [num_kv_heads, head_dim, block_size]
  const void* value_cache;  // + block · block_stride: [num_kv_heads, block_size, head_dim]
  int64_t block_stride;
  int block_size;
  const int32_t* block_table;
  float scale;
};

// Cache heads · rows of one of them (query rows · group size, rounded up to the kernel's
// row_multiple) of one task at most, so that its working set stays in the second-level cache.
inline constexpr int kMaxAttentionRows = 64;
struct AttentionKernel {
  int row_multiple;
  void (*attend)(const AttentionTask& task, float* scratch);
};

// Floats of scratch per thread that `attend` may use, from a cache line's begin.
inline constexpr int64_t kAttentionScratchFloats =
    int64_t{2} * kKeyTile * kMaxHeadDim +           // the keys and values of a tile
    int64_t{2} * kMaxAttentionRows * kMaxHeadDim +  // queries and accumulators
    int64_t{kMaxAttentionRows} * kKeyTile +         // scores
    int64_t{2} * kMaxAttentionRows;                 // maxima and sums

// Kernels on rows.
struct RowKernels {
  // out = accumulators [num_rows, kPanelWidth] + bias [num_columns] (null: none).
  void (*store_panel)(const float* accumulators, const float* bias, const StoreTarget& target);

  // out = silu(gates + gate_bias) · (factors + factor_bias), the sums rounded to the type of `out`
  // first.
  void (*store_gated_panel)(const float* gates, const float* gate_bias, const float* factors,
                            const float* factor_bias, const StoreTarget& target);

  // As declared in rms_norm.h, one row. `residual` null: normalizes x; else residual += x and
  // residual is normalized. Here `type` is that of weight and out.
  void (*rms_norm_row)(const void* x, ElementType x_type, float* residual, const void* weight,
                       float epsilon, int64_t hidden, ElementType type, void* out);

  // out[i] = silu(gate[i]) · up[i].
  void (*silu_multiply_row)(const void* gate, const void* up, int64_t num, ElementType type,
                            void* out);

  // Rotates one head's first 2 · half features: in and out may be the same.
  void (*rotate_head)(const void* in, const float* cos, const float* sin, int half,
                      ElementType type, void* out);
};

struct KernelTable {
  GemmKernel gemm[kNumElementTypes];  // by weight type
  RowKernels rows;
  AttentionKernel attention[kNumElementTypes];  // by the cache's type
};

// Instruction-set specific tables; call only what the processor has.
const KernelTable& GenericKernels();
const KernelTable& Avx2Kernels();
const KernelTable& Avx512Kernels();
// Only the kernels that replace those of the AVX-512 table.
const GemmKernel& Avx512Bf16Gemm();
const RowKernels& Avx512Bf16Rows();
const GemmKernel& AmxBf16Gemm();
const AttentionKernel& AmxBf16Attention();

}  // namespace lockstep::worker::cpu

#endif  // LOCKSTEP_WORKER_KERNELS_CPU_KERNEL_TABLE_H_
