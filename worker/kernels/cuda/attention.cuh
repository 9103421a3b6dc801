// What the attention kernels share.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_CUH_
#define LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_CUH_

#include "worker/kernels/cuda/device.cuh"

namespace lockstep::worker::cuda {

inline constexpr float kLowest = -3.0e38F;
inline constexpr float kLog2E = 1.44269504F;

// A decode's context is divided into at most this many parts, of at least so many of its kernel's
// tiles.
inline constexpr int kMaxDecodeSplits = 16;
inline constexpr int kMinTilesPerSplit = 4;

// The cache of one sequence and KV head: where the features of a position's key or value begin.
template <typename T>
class PagedRows {
 public:
  __device__ PagedRows(const AttentionArguments& a, const void* cache, int sequence, int kv_head)
      : base_(static_cast<const T*>(cache) +
              (static_cast<int64_t>(kv_head) << a.block_shift) * a.head_dim),
        table_(a.block_tables + sequence * a.table_stride),
        block_stride_((static_cast<int64_t>(a.num_kv_heads) << a.block_shift) * a.head_dim),
        block_shift_(a.block_shift),
        head_dim_(a.head_dim) {}

  __device__ const T* Row(int position) const { return base_ + Offset(position); }

  // Of a position's features from those of position 0 of block 0: the same for keys and values.
  __device__ int64_t Offset(int position) const {
    const int block = position >> block_shift_;
    return table_[block] * block_stride_ + (position - (block << block_shift_)) * head_dim_;
  }
  __device__ const T* base() const { return base_; }

 private:
  const T* base_;
  const int32_t* table_;
  int64_t block_stride_;
  int block_shift_;
  int head_dim_;
};

// Rows one by one: those of [first_row, first_row + num_rows), each context divided into at most
// `num_splits` blocks. `type` and any head_dim that is a multiple of 8 up to 256.
void LaunchRowAttention(const AttentionArguments& arguments, int first_row, int num_rows,
                        int num_splits, Stream stream);

// Whether LaunchDecodeAttention has kernels for these: float16 or bfloat16, head_dim 64 or 128.
bool HasDecodeAttention(const AttentionArguments& arguments);
// The decodes, on the matrix units.
void LaunchDecodeAttention(const AttentionArguments& arguments, Stream stream);

// Whether LaunchTileAttention has kernels for these: float16 or bfloat16, head_dim 64 or 128.
bool HasTileAttention(const AttentionArguments& arguments);
// The sequences behind the decodes, 64 rows at a time on the matrix units.
void LaunchTileAttention(const AttentionArguments& arguments, Stream stream);

// The same on GPUs that have products of warpgroups.
bool HasWarpgroupAttention(const AttentionArguments& arguments);
void LaunchWarpgroupAttention(const AttentionArguments& arguments, Stream stream);

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_ATTENTION_CUH_
