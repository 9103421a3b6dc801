// The launchers of the CUDA kernels: plain pointers to device memory, sizes in elements. ops.cc
// gives them tensors' memory; what the arguments mean is said at the ops in worker/kernels/*.h.
#ifndef LOCKSTEP_WORKER_KERNELS_CUDA_LAUNCHERS_H_
#define LOCKSTEP_WORKER_KERNELS_CUDA_LAUNCHERS_H_

#include <cstdint>

namespace lockstep::worker::cuda {

using Stream = void*;  // a cudaStream_t

enum class Element { kFloat32, kFloat16, kBFloat16 };

struct RmsNormArguments {
  const void* x;  // [num_rows, hidden], float32 or `type`
  int64_t x_stride;
  Element x_type;
  float* residual;  // [num_rows, hidden], or null
  int64_t residual_stride;
  const void* weight;  // [hidden]
  void* out;           // [num_rows, hidden]
  int64_t out_stride;
  Element type;
  int num_rows;
  int hidden;
  float epsilon;
};
void LaunchRmsNorm(const RmsNormArguments& arguments, Stream stream);

struct RopeCosSinArguments {
  const int32_t* positions;  // [num_tokens]
  const float* inv_freq;     // [half]
  float scaling;
  float* cos_sin;  // [num_tokens, 2 · half]
  int64_t stride;
  int num_tokens;
  int half;
};
void LaunchRopeCosSin(const RopeCosSinArguments& arguments, Stream stream);

struct RopeCacheArguments {
  void* qkv;  // [num_tokens, (num_heads + 2 · num_kv_heads) · head_dim]
  int64_t qkv_stride;
  const float* cos_sin;  // [num_tokens, 2 · half]
  int64_t cos_sin_stride;
  const int64_t* cache_slots;  // [num_tokens]
  void* key;                   // [num_blocks, num_kv_heads, block_size, head_dim]
  void* value;                 // the same
  Element type;
  int num_tokens;
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int half;
  int block_size;
  int64_t num_slots;
};
void LaunchRopeAndCacheWrite(const RopeCacheArguments& arguments, Stream stream);

// What becomes of the product.
enum class LinearRowResult {
  kStore,         // out = product
  kAdd,           // out += product
  kSiluMultiply,  // out = silu(the first half of the product) · the second half
};
struct LinearRowArguments {
  const void* x;       // [in_features]
  const void* weight;  // [out_features, in_features]
  const void* bias;    // [out_features] of `type`, or null
  void* out;           // [out_features], or half as many with kSiluMultiply
  Element type;
  Element out_type;  // `type` or float32
  int in_features;
  int out_features;
  LinearRowResult result;
};
// Whether there is a kernel for these: 16-bit elements in packs of 8 that are aligned.
bool HasLinearRow(const LinearRowArguments& arguments);
void LaunchLinearRow(const LinearRowArguments& arguments, Stream stream);

// Of one token, for heads that are rotated whole: LaunchLinearRow to rope.qkv, then
// LaunchRopeAndCacheWrite, but that keys and values are in the cache alone. HasLinearRow holds;
// `out`, its type and the result are not looked at.
void LaunchLinearRope(const LinearRowArguments& arguments, const RopeCacheArguments& rope,
                      Stream stream);

struct SiluMultiplyArguments {
  const void* gate_up;  // [num_rows, 2 · ffn]
  int64_t gate_up_stride;
  void* out;  // [num_rows, ffn]
  int64_t out_stride;
  Element type;
  int num_rows;
  int ffn;
};
void LaunchSiluMultiply(const SiluMultiplyArguments& arguments, Stream stream);

struct EmbeddingArguments {
  const void* token_ids;  // [num_tokens] int32, or int64 with wide_ids
  bool wide_ids;
  const void* table;  // [vocab_end - vocab_begin, hidden]
  Element table_type;
  int64_t vocab_begin;
  int64_t vocab_end;
  void* out;  // [num_tokens, hidden], float32 or table_type
  int64_t out_stride;
  Element out_type;
  int num_tokens;
  int hidden;
};
void LaunchEmbedding(const EmbeddingArguments& arguments, Stream stream);

struct SumPartsArguments {
  const float* parts;  // [num_parts, size]
  float* out;          // [size]; may be one of the parts
  int num_parts;
  int64_t size;
};
void LaunchSumParts(const SumPartsArguments& arguments, Stream stream);

inline constexpr int kMaxPeers = 8;  // ranks that reach each other's memory
// The grid of every all-reduce, whatever its size: block b of a rank waits for the blocks b of the
// others, and each block counts its launches by itself.
inline constexpr int kNumPeerBlocks = 32;

// data[i] = the sum over the ranks of their data[i], added in the order of the ranks. All ranks
// launch the same sizes in the same order, each on one stream.
struct PeerAllReduceArguments {
  float* data;  // [size]
  int64_t size;
  int rank;
  int world_size;
  // Of each rank, in the memory of its device.
  float* slots[kMaxPeers];     // [2, world_size, slot_size], 16-byte aligned
  uint32_t* flags[kMaxPeers];  // [world_size, kNumPeerBlocks], zero before the first launch
  int64_t slot_size;           // at least `size`, a multiple of 4
  uint32_t* epochs;            // [kNumPeerBlocks], zero before the first launch
  // Not zero: kernels no longer wait for the other ranks, and `data` becomes anything.
  uint32_t* is_aborted;
};
void LaunchPeerAllReduce(const PeerAllReduceArguments& arguments, Stream stream);

struct FillPendingTokensArguments {
  const int32_t* last_tokens;  // [max_num_seqs]
  int32_t* token_ids;          // [num_tokens]
  int num_tokens;
};
void LaunchFillPendingTokens(const FillPendingTokensArguments& arguments, Stream stream);

struct StoreTokensArguments {
  const int64_t* token_ids;  // [num_tokens]
  const int32_t* slots;      // [num_tokens]
  int32_t* last_tokens;      // [max_num_seqs]
  int num_tokens;
};
void LaunchStoreTokens(const StoreTokensArguments& arguments, Stream stream);

struct AttentionArguments {
  const void* q;  // [num_rows, num_heads · head_dim]
  int64_t q_stride;
  const void* key;                       // [num_blocks, num_kv_heads, block_size, head_dim]
  const void* value;                     // the same
  const int32_t* query_start_locations;  // [num_sequences + 1]
  const int32_t* context_lengths;        // [num_sequences]
  const int32_t* block_tables;           // [num_sequences, table_stride]
  int64_t table_stride;
  void* out;  // [num_rows, num_heads · head_dim]
  int64_t out_stride;
  Element type;
  int num_sequences;
  int num_decode_sequences;  // the leading ones, of one row each
  int num_rows;
  int num_heads;
  int num_kv_heads;
  int head_dim;
  int block_shift;  // log2 of the cache's block size
  float scale;
  int64_t max_context_length;  // what the block tables have room for, in tokens
  float* partials;  // AttentionPartialFloats(…) of scratch memory; may be null if that is 0
  unsigned* split_counters;  // [num_decode_sequences · num_heads]: zero, and zero again afterwards
};
// `partials` and `split_counters` are not looked at.
int64_t AttentionPartialFloats(const AttentionArguments& arguments);
void LaunchPagedAttention(const AttentionArguments& arguments, Stream stream);

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_KERNELS_CUDA_LAUNCHERS_H_
