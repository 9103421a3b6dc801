#include "worker/kernels/cuda/ops.h"

#include <ATen/ops/empty.h>

#include "worker/kernels/cuda/launchers.h"
#include "worker/kernels/cuda/stream.h"

namespace lockstep::worker::cuda {
namespace {

Element ElementOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kHalf:
      return Element::kFloat16;
    case at::kBFloat16:
      return Element::kBFloat16;
    default:
      return Element::kFloat32;
  }
}

int Size(const at::Tensor& tensor, int64_t dimension) {
  return static_cast<int>(tensor.size(dimension));
}

}  // namespace

void EmbeddingLookup(const at::Tensor& token_ids, const LinearWeight& table, int64_t vocab_begin,
                     int64_t vocab_end, at::Tensor& out) {
  LaunchEmbedding({.token_ids = token_ids.const_data_ptr(),
                   .wide_ids = token_ids.scalar_type() == at::kLong,
                   .table = table.packed().const_data_ptr(),
                   .table_type = ElementOf(table.packed()),
                   .vocab_begin = vocab_begin,
                   .vocab_end = vocab_end,
                   .out = out.mutable_data_ptr(),
                   .out_stride = out.stride(0),
                   .out_type = ElementOf(out),
                   .num_tokens = Size(out, 0),
                   .hidden = Size(out, 1)},
                  CurrentStream(out.device()));
  CheckLaunch("EmbeddingLookup");
}

void RmsNorm(const at::Tensor& x, at::Tensor* residual, const at::Tensor& weight, double epsilon,
             at::Tensor& out) {
  LaunchRmsNorm({.x = x.const_data_ptr(),
                 .x_stride = x.stride(0),
                 .x_type = ElementOf(x),
                 .residual = residual == nullptr ? nullptr : residual->mutable_data_ptr<float>(),
                 .residual_stride = residual == nullptr ? 0 : residual->stride(0),
                 .weight = weight.const_data_ptr(),
                 .out = out.mutable_data_ptr(),
                 .out_stride = out.stride(0),
                 .type = ElementOf(out),
                 .num_rows = Size(out, 0),
                 .hidden = Size(out, 1),
                 .epsilon = static_cast<float>(epsilon)},
                CurrentStream(out.device()));
  CheckLaunch("RmsNorm");
}

void ComputeRopeCosSin(const at::Tensor& positions, const at::Tensor& inv_freq,
                       double attention_scaling, at::Tensor& cos_sin) {
  LaunchRopeCosSin({.positions = positions.const_data_ptr<int32_t>(),
                    .inv_freq = inv_freq.const_data_ptr<float>(),
                    .scaling = static_cast<float>(attention_scaling),
                    .cos_sin = cos_sin.mutable_data_ptr<float>(),
                    .stride = cos_sin.stride(0),
                    .num_tokens = Size(cos_sin, 0),
                    .half = Size(inv_freq, 0)},
                   CurrentStream(cos_sin.device()));
  CheckLaunch("ComputeRopeCosSin");
}

void RopeAndCacheWrite(at::Tensor& qkv, const at::Tensor& cos_sin, const at::Tensor& cache_slots,
                       KvCacheView& cache) {
  const int num_kv_heads = Size(cache.value, 1);
  const int head_dim = Size(cache.value, 3);
  LaunchRopeAndCacheWrite({.qkv = qkv.mutable_data_ptr(),
                           .qkv_stride = qkv.stride(0),
                           .cos_sin = cos_sin.const_data_ptr<float>(),
                           .cos_sin_stride = cos_sin.stride(0),
                           .cache_slots = cache_slots.const_data_ptr<int64_t>(),
                           .key = cache.key.mutable_data_ptr(),
                           .value = cache.value.mutable_data_ptr(),
                           .type = ElementOf(qkv),
                           .num_tokens = Size(qkv, 0),
                           .num_heads = Size(qkv, 1) / head_dim - 2 * num_kv_heads,
                           .num_kv_heads = num_kv_heads,
                           .head_dim = head_dim,
                           .half = Size(cos_sin, 1) / 2,
                           .block_size = Size(cache.value, 2),
                           .num_slots = cache.value.size(0) * cache.value.size(2)},
                          CurrentStream(qkv.device()));
  CheckLaunch("RopeAndCacheWrite");
}

void PagedAttention(const at::Tensor& q, const KvCacheView& cache, const AttentionBatch& batch,
                    double scale, at::Tensor& out) {
  if (q.size(0) == 0) return;
  const int head_dim = Size(cache.value, 3);
  const int num_heads = Size(q, 1) / head_dim;
  const int num_decodes = static_cast<int>(batch.num_decode_sequences);
  const int num_splits = NumAttentionSplits(batch.block_tables.size(1) * cache.value.size(2));
  const at::Tensor partials =
      at::empty({AttentionPartialFloats(num_decodes, num_heads, head_dim, num_splits)},
                q.options().dtype(at::kFloat));
  LaunchPagedAttention(
      {.q = q.const_data_ptr(),
       .q_stride = q.stride(0),
       .key = cache.key.const_data_ptr(),
       .value = cache.value.const_data_ptr(),
       .query_start_locations = batch.query_start_locations.const_data_ptr<int32_t>(),
       .context_lengths = batch.context_lengths.const_data_ptr<int32_t>(),
       .block_tables = batch.block_tables.const_data_ptr<int32_t>(),
       .table_stride = batch.block_tables.stride(0),
       .out = out.mutable_data_ptr(),
       .out_stride = out.stride(0),
       .type = ElementOf(q),
       .num_sequences = Size(batch.context_lengths, 0),
       .num_decode_sequences = num_decodes,
       .num_rows = Size(q, 0),
       .num_heads = num_heads,
       .num_kv_heads = Size(cache.value, 1),
       .head_dim = head_dim,
       .block_size = Size(cache.value, 2),
       .scale = static_cast<float>(scale),
       .num_splits = num_splits,
       .partials = partials.numel() == 0 ? nullptr : partials.mutable_data_ptr<float>()},
      CurrentStream(q.device()));
  CheckLaunch("PagedAttention");
}

void SiluMultiply(const at::Tensor& gate_up, at::Tensor& out) {
  LaunchSiluMultiply({.gate_up = gate_up.const_data_ptr(),
                      .gate_up_stride = gate_up.stride(0),
                      .out = out.mutable_data_ptr(),
                      .out_stride = out.stride(0),
                      .type = ElementOf(out),
                      .num_rows = Size(out, 0),
                      .ffn = Size(out, 1)},
                     CurrentStream(out.device()));
  CheckLaunch("SiluMultiply");
}

void FillPendingTokens(const at::Tensor& last_tokens, at::Tensor& token_ids) {
  LaunchFillPendingTokens({.last_tokens = last_tokens.const_data_ptr<int32_t>(),
                           .token_ids = token_ids.mutable_data_ptr<int32_t>(),
                           .num_tokens = Size(token_ids, 0)},
                          CurrentStream(token_ids.device()));
  CheckLaunch("FillPendingTokens");
}

void StoreTokens(const at::Tensor& token_ids, const at::Tensor& slots, at::Tensor& last_tokens) {
  LaunchStoreTokens({.token_ids = token_ids.const_data_ptr<int64_t>(),
                     .slots = slots.const_data_ptr<int32_t>(),
                     .last_tokens = last_tokens.mutable_data_ptr<int32_t>(),
                     .num_tokens = Size(token_ids, 0)},
                    CurrentStream(token_ids.device()));
  CheckLaunch("StoreTokens");
}

void SumParts(const at::Tensor& parts, at::Tensor& out) {
  LaunchSumParts({.parts = parts.const_data_ptr<float>(),
                  .out = out.mutable_data_ptr<float>(),
                  .num_parts = Size(parts, 0),
                  .size = out.numel()},
                 CurrentStream(out.device()));
  CheckLaunch("SumParts");
}

}  // namespace lockstep::worker::cuda
