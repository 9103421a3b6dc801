#include "worker/kernels/paged_attention.h"

#include "worker/kernels/cpu/ops.h"
#include "worker/kernels/cuda/ops.h"
#include "worker/kernels/tensor_checks.h"

namespace lockstep::worker {

void PagedAttention(KernelContext& context, const at::Tensor& q, const KvCacheView& cache,
                    const AttentionBatch& batch, double scale, at::Tensor& out) {
  constexpr const char* kOp = "PagedAttention";
  TORCH_CHECK(q.defined() && q.dim() == 2, kOp, ": q is not a matrix");
  CheckKvCache(cache, kOp);
  const int64_t head_dim = cache.value.size(3), num_kv_heads = cache.value.size(1);
  TORCH_CHECK(q.size(1) > 0 && q.size(1) % (head_dim * num_kv_heads) == 0, kOp, ": rows of ",
              q.size(1), " elements are not a multiple of ", num_kv_heads, " heads of ", head_dim);
  CheckRows(q, q.size(0), q.size(1), kOp, "q");
  CheckRows(out, q.size(0), q.size(1), kOp, "out");
  CheckDtype(q, cache.key.scalar_type(), kOp, "q");
  CheckDtype(out, cache.key.scalar_type(), kOp, "out");
  TORCH_CHECK(batch.context_lengths.defined(), kOp, ": undefined context_lengths");
  const int64_t num_sequences = batch.context_lengths.numel();
  CheckVector(batch.context_lengths, num_sequences, at::kInt, kOp, "context_lengths");
  CheckVector(batch.query_start_locations, num_sequences + 1, at::kInt, kOp,
              "query_start_locations");
  TORCH_CHECK(batch.block_tables.defined() && batch.block_tables.dim() == 2, kOp,
              ": block_tables is not a matrix");
  CheckRows(batch.block_tables, num_sequences, batch.block_tables.size(1), kOp, "block_tables");
  CheckDtype(batch.block_tables, at::kInt, kOp, "block_tables");
  TORCH_CHECK(batch.num_decode_sequences >= 0 && batch.num_decode_sequences <= num_sequences, kOp,
              ": num_decode_sequences is ", batch.num_decode_sequences, " of ", num_sequences);
  CheckDevices(kOp, out.device(),
               {&q, &cache.key, &cache.value, &batch.query_start_locations, &batch.context_lengths,
                &batch.block_tables});
  if (out.is_cuda()) return cuda::PagedAttention(q, cache, batch, scale, out);
  cpu::PagedAttention(context, q, cache, batch, scale, out);
}

}  // namespace lockstep::worker
