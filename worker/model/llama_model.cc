#include "worker/model/llama_model.h"

#include <ATen/ops/index_select.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "worker/kernels/embedding.h"
#include "worker/kernels/rms_norm.h"

namespace lockstep::worker {
namespace {

// What the attention kernels and the cache need; see kv_cache_layout.h.
constexpr int64_t kHeadDimMultiple = 8;

AttentionGeometry MakeGeometry(const LlamaConfig& config, const ShardPlan& plan) {
  const int64_t padded = (config.head_dim + kHeadDimMultiple - 1) / kHeadDimMultiple;
  return {.num_heads = plan.heads.size(),
          .num_kv_heads = plan.kv_heads.size(),
          .padded_head_dim = padded * kHeadDimMultiple,
          .scale = 1.0 / std::sqrt(static_cast<double>(config.head_dim))};
}

int64_t MaxLogitRows(const LlamaConfig& config, const ModelOptions& options) {
  const int64_t row_bytes = config.vocab_size * int64_t{sizeof(float)};
  return std::clamp<int64_t>(std::max(kMaxLogitBytes / row_bytes, options.min_logit_rows), 1,
                             options.max_num_tokens);
}

// All rows without a view of their own: to make one costs a good part of an op on a single row.
at::Tensor RowsOf(const at::Tensor& matrix, int64_t first, int64_t num) {
  return num == matrix.size(0) ? matrix : matrix.narrow(0, first, num);
}

}  // namespace

KvCacheGeometry CacheGeometry(const LlamaConfig& config, const ShardPlan& plan,
                              const ModelOptions& options, int64_t block_size) {
  const AttentionGeometry attention = MakeGeometry(config, plan);
  return {.num_layers = config.num_hidden_layers,
          .num_kv_heads = attention.num_kv_heads,
          .head_dim = attention.padded_head_dim,
          .block_size = block_size,
          .dtype = options.dtype,
          .device = options.device};
}

LlamaModel::LlamaModel(const LlamaConfig& config, const Checkpoint& checkpoint,
                       const ShardPlan& plan, const ModelOptions& options, KernelContext& context,
                       const std::function<void(uint64_t, uint64_t)>& progress)
    : config_(config),
      plan_(plan),
      options_(options),
      context_(context),
      rotary_(config, options.device),
      geometry_(MakeGeometry(config, plan)) {
  const WeightLoader::Target target = {.dtype = options.dtype,
                                       .device = options.device,
                                       .padded_head_dim = geometry_.padded_head_dim};
  WeightLoader loader(checkpoint, config_, plan_, target, context.pool(), progress);
  LoadLayers(loader, geometry_);
  for (int rank = 0; rank <= plan.world_size; ++rank) {
    vocab_offsets_.push_back(BalancedRange(config.vocab_size, rank, plan.world_size).begin);
  }
  max_logit_rows_ = MaxLogitRows(config, options);
  const ActivationSizes sizes = {.max_num_tokens = options.max_num_tokens,
                                 .max_logit_rows = max_logit_rows_,
                                 .hidden = config.hidden_size,
                                 .head_dim = config.head_dim,
                                 .qkv = geometry_.qkv_size(),
                                 .q = geometry_.q_size(),
                                 .ffn = plan.ffn.size(),
                                 .shard_vocab = ComputesInPlace() ? 0 : plan.vocab.size(),
                                 .gathered_vocab = plan.rank == 0 ? config.vocab_size : 0,
                                 .dtype = options.dtype,
                                 .device = options.device};
  activations_ = std::make_unique<Activations>(sizes);
}

void LlamaModel::LoadLayers(WeightLoader& loader, const AttentionGeometry& geometry) {
  embedding_ = loader.Matrix({"model.embed_tokens.weight"});
  weight_bytes_ += embedding_.num_bytes();
  layers_.reserve(static_cast<size_t>(config_.num_hidden_layers));
  for (int64_t index = 0; index < config_.num_hidden_layers; ++index) {
    const std::string prefix = absl::StrCat("model.layers.", index, ".");
    layers_.push_back(
        {.input_norm = loader.Vector({prefix + "input_layernorm.weight"}),
         .post_attn_norm = loader.Vector({prefix + "post_attention_layernorm.weight"}),
         .attention =
             AttentionLayer(loader, prefix + "self_attn.", config_.attention_bias, geometry),
         .mlp = MlpLayer(loader, prefix + "mlp.", config_.mlp_bias)});
    weight_bytes_ += layers_.back().attention.num_bytes() + layers_.back().mlp.num_bytes();
  }
  final_norm_ = loader.Vector({"model.norm.weight"});
  if (config_.tie_word_embeddings) {
    head_ = embedding_;
  } else {
    head_ = loader.Matrix({"lm_head.weight"});
    weight_bytes_ += head_.num_bytes();
  }
}

const at::Tensor& LlamaModel::NormAfter(size_t index) const {
  return index + 1 < layers_.size() ? layers_[index + 1].input_norm : final_norm_;
}

absl::Status LlamaModel::Forward(const StepBatch& batch, Communicator& communicator, KvCache& cache,
                                 at::Tensor& hidden) {
  ActivationRows rows = activations_->Rows(batch.num_tokens);
  EmbeddingLookup(context_, batch.token_ids, embedding_, plan_.vocab.begin, plan_.vocab.end,
                  rows.residual);
  rotary_.ComputeCosSin(context_, batch.positions, batch.rope_spans, rows.cos_sin);
  const auto normalize = [&](int64_t first, int64_t num) {
    at::Tensor normed = RowsOf(rows.normed, first, num);
    RmsNorm(context_, RowsOf(rows.residual, first, num), layers_[0].input_norm,
            config_.rms_norm_eps, normed);
  };
  absl::Status status = communicator.ReduceRows(rows.residual, normalize, rows.normed);
  if (!status.ok()) return status;

  const size_t last = layers_.size() - 1;
  for (size_t index = 0; index < last; ++index) {
    layers_[index].attention.Attend(context_, batch, rows.normed, rows.cos_sin,
                                    cache.layer(static_cast<int64_t>(index)), rows.qkv,
                                    rows.attended);
    status = FinishLayer(index, rows.attended, rows, communicator);
    if (!status.ok()) return status;
  }
  layers_[last].attention.Attend(context_, batch, rows.normed, rows.cos_sin,
                                 cache.layer(static_cast<int64_t>(last)), rows.qkv, rows.attended);
  // Behind the last attention a row concerns only itself: go on with those that are asked for.
  hidden = rows.normed.narrow(0, 0, batch.num_logit_rows);
  if (batch.num_logit_rows == 0) return absl::OkStatus();
  if (batch.num_logit_rows == batch.num_tokens) {
    return FinishLayer(last, rows.attended, rows, communicator);
  }
  const at::Tensor attended = rows.attended.index_select(0, batch.logit_rows);
  ActivationRows wanted = activations_->Rows(batch.num_logit_rows);
  status = TakeRows(batch, rows, communicator, wanted);
  if (!status.ok()) return status;
  return FinishLayer(last, attended, wanted, communicator);
}

absl::Status LlamaModel::FinishLayer(size_t index, const at::Tensor& attended, ActivationRows& rows,
                                     Communicator& communicator) {
  const DecoderLayer& layer = layers_[index];
  at::Tensor& out = AddsToResidual() ? rows.residual : rows.partial;
  layer.attention.ProjectOutput(context_, attended, AddsToResidual(), out);
  if (absl::Status status = AddAndNormalize(layer.post_attn_norm, rows, communicator);
      !status.ok()) {
    return status;
  }
  layer.mlp.Forward(context_, rows.normed, rows.gate_up, rows.activated, AddsToResidual(), out);
  return AddAndNormalize(NormAfter(index), rows, communicator);
}

absl::Status LlamaModel::AddAndNormalize(const at::Tensor& norm, ActivationRows& rows,
                                         Communicator& communicator) {
  if (AddsToResidual()) {
    RmsNorm(context_, rows.residual, norm, config_.rms_norm_eps, rows.normed);
    return absl::OkStatus();
  }
  const auto finish = [&](int64_t first, int64_t num) {
    at::Tensor residual = RowsOf(rows.residual, first, num);
    at::Tensor normed = RowsOf(rows.normed, first, num);
    AddRmsNorm(context_, RowsOf(rows.partial, first, num), residual, norm, config_.rms_norm_eps,
               normed);
  };
  return communicator.ReduceRows(rows.partial, finish, rows.normed);
}

absl::Status LlamaModel::TakeRows(const StepBatch& batch, const ActivationRows& rows,
                                  Communicator& communicator, ActivationRows& wanted) const {
  at::Tensor residual = rows.residual.index_select(0, batch.logit_rows);
  const RowRange own = communicator.OwnRows(rows.residual, rows.normed);
  if (own.size() < batch.num_tokens) {
    const auto* numbers = batch.logit_rows.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < batch.num_logit_rows; ++i) {
      if (numbers[i] < own.begin || numbers[i] >= own.end) residual[i].zero_();
    }
    absl::Status status = communicator.AllReduceSum(residual);
    if (!status.ok()) return status;
  }
  wanted.residual.copy_(residual);
  return absl::OkStatus();
}

bool LlamaModel::AddsToResidual() const {
  return plan_.world_size == 1 && options_.device.is_cuda();
}

absl::Status LlamaModel::Logits(const at::Tensor& hidden, Communicator& communicator,
                                at::Tensor& logits) {
  const int64_t num_rows = hidden.size(0);
  if (plan_.rank == 0 && !logits.defined()) logits = activations_->Logits(num_rows);
  at::Tensor shard = ComputesInPlace() ? logits.narrow(1, plan_.vocab.begin, plan_.vocab.size())
                                       : activations_->LogitShard(num_rows);
  LogitShard(hidden, shard);
  if (plan_.world_size == 1) return absl::OkStatus();
  return communicator.GatherColumns(shard, vocab_offsets_, logits);
}

void LlamaModel::LogitShard(const at::Tensor& hidden, at::Tensor& shard) {
  Linear(context_, hidden, head_, std::nullopt, shard);
}

bool LlamaModel::ComputesInPlace() const {
  return plan_.rank == 0 && (plan_.world_size == 1 || options_.device.is_cpu());
}

uint64_t LlamaModel::Checksum(const at::Tensor& hidden) {
  const at::Tensor host = hidden.cpu().contiguous();
  const auto* bytes = static_cast<const unsigned char*>(host.const_data_ptr());
  uint64_t checksum = 0xCBF29CE484222325;  // FNV-1a
  for (size_t i = 0; i < host.nbytes(); ++i) checksum = (checksum ^ bytes[i]) * 0x100000001B3;
  return checksum;
}

}  // namespace lockstep::worker
