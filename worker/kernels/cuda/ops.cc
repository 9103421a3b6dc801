#include "worker/kernels/cuda/ops.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <vector>

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

// Zeros that the attention of decodes leaves zero: made once for a thread, whose steps follow one
// another on one stream, and kept, because recorded graphs refer to them.
unsigned* SplitCounters(const at::Tensor& q, int64_t size) {
  thread_local std::vector<at::Tensor>& all = *new std::vector<at::Tensor>();
  if (all.empty() || all.back().numel() < size || all.back().device() != q.device()) {
    all.push_back(
        at::zeros({std::max<int64_t>(size, int64_t{1} << 14)}, q.options().dtype(at::kInt)));
  }
  return static_cast<unsigned*>(all.back().mutable_data_ptr());
}

LinearRowArguments RowArguments(const at::Tensor& x, const at::Tensor& weight,
                                const std::optional<at::Tensor>& bias, LinearRowResult result,
                                at::Tensor& out) {
  return {.x = x.const_data_ptr(),
          .weight = weight.const_data_ptr(),
          .bias = bias.has_value() ? bias->const_data_ptr() : nullptr,
          .out = out.mutable_data_ptr(),
          .type = ElementOf(x),
          .out_type = ElementOf(out),
          .in_features = Size(weight, 1),
          .out_features = Size(weight, 0),
          .result = result};
}

RopeCacheArguments RopeArguments(at::Tensor& qkv, const at::Tensor& cos_sin,
                                 const at::Tensor& cache_slots, KvCacheView& cache) {
  const int num_kv_heads = Size(cache.value, 1);
  const int head_dim = Size(cache.value, 3);
  return {.qkv = qkv.mutable_data_ptr(),
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
          .num_slots = cache.value.size(0) * cache.value.size(2)};
}

}  // namespace

bool LinearRow(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
               LinearRowResult result, at::Tensor& out) {
  if (x.size(0) != 1 || (bias.has_value() && bias->scalar_type() != x.scalar_type())) return false;
  const LinearRowArguments arguments = RowArguments(x, weight, bias, result, out);
  if (!HasLinearRow(arguments)) return false;
  LaunchLinearRow(arguments, CurrentStream(x.device()));
  CheckLaunch("Linear");
  return true;
}

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
  LaunchRopeAndCacheWrite(RopeArguments(qkv, cos_sin, cache_slots, cache),
                          CurrentStream(qkv.device()));
  CheckLaunch("RopeAndCacheWrite");
}

bool LinearRopeAndCacheWrite(const at::Tensor& x, const at::Tensor& weight,
                             const std::optional<at::Tensor>& bias, const at::Tensor& cos_sin,
                             const at::Tensor& cache_slots, KvCacheView& cache, at::Tensor& qkv) {
  const int64_t width = weight.size(0);
  const int64_t head_dim = cache.value.size(3);
  const bool is_one_row =
      x.size(0) == 1 && qkv.size(0) == 1 && cos_sin.size(0) == 1 && cache_slots.numel() == 1;
  const bool has_sizes = x.size(1) == weight.size(1) && qkv.size(1) == width &&
                         width % head_dim == 0 && width / head_dim > 2 * cache.value.size(1) &&
                         cos_sin.size(1) == head_dim &&
                         (!bias.has_value() || bias->numel() == width);
  const at::ScalarType type = x.scalar_type();
  const bool has_types = weight.scalar_type() == type && qkv.scalar_type() == type &&
                         cache.key.scalar_type() == type &&
                         (!bias.has_value() || bias->scalar_type() == type);
  if (!is_one_row || !has_sizes || !has_types) return false;
  const LinearRowArguments arguments = RowArguments(x, weight, bias, LinearRowResult::kStore, qkv);
  if (!HasLinearRow(arguments)) return false;
  LaunchLinearRope(arguments, RopeArguments(qkv, cos_sin, cache_slots, cache),
                   CurrentStream(x.device()));
  CheckLaunch("LinearRopeAndCacheWrite");
  return true;
}

void PagedAttention(const at::Tensor& q, const KvCacheView& cache, const AttentionBatch& batch,
                    double scale, at::Tensor& out) {
  if (q.size(0) == 0) return;
  const int head_dim = Size(cache.value, 3);
  const auto block_size = static_cast<unsigned>(cache.value.size(2));
  AttentionArguments arguments = {
      .q = q.const_data_ptr(),
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
      .num_decode_sequences = static_cast<int>(batch.num_decode_sequences),
      .num_rows = Size(q, 0),
      .num_heads = Size(q, 1) / head_dim,
      .num_kv_heads = Size(cache.value, 1),
      .head_dim = head_dim,
      .block_shift = std::countr_zero(block_size),
      .scale = static_cast<float>(scale),
      .max_context_length = batch.block_tables.size(1) * cache.value.size(2),
      .partials = nullptr,
      .split_counters = nullptr};
  TORCH_CHECK(std::has_single_bit(block_size), "PagedAttention on the GPU: blocks of ", block_size,
              " tokens; their number must be a power of two");
  const at::Tensor partials =
      at::empty({AttentionPartialFloats(arguments)}, q.options().dtype(at::kFloat));
  if (partials.numel() > 0) {
    arguments.partials = partials.mutable_data_ptr<float>();
    arguments.split_counters =
        SplitCounters(q, int64_t{arguments.num_decode_sequences} * arguments.num_heads);
  }
  LaunchPagedAttention(arguments, CurrentStream(q.device()));
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
