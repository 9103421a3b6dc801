#include "worker/runtime/reference_model.h"

#include <ATen/ops/empty.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/cache/kv_cache.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/comm/local_communicator.h"
#include "worker/layers/step_batch.h"
#include "worker/model/llama_model.h"

namespace lockstep::worker {
namespace {

constexpr int kPromptTokens = 21;  // more than a block and a tile's fragment
constexpr int64_t kBlockSize = 16;
constexpr int64_t kVocabSize = 12;

// transformers gives the same to 2e-6 for the same weights.
constexpr std::array<float, 2 * kVocabSize> kStoredLogits = {
    0.89076352F,  0.1018727F,   0.9865852F,   1.3225204F,  0.66609716F,  -0.33249828F,
    -0.20191365F, -0.87719327F, 0.055207603F, 0.30734801F, -0.97541976F, -1.0701771F,
    0.212787F,    -0.41495389F, 1.9254372F,   0.55913734F, 0.11551069F,  -1.0981989F,
    0.38956589F,  -0.84182525F, 0.340698F,    0.5243457F,  -1.5449985F,  -1.830495F};

// Groups of queries that share keys, and a head size for which the GPU has its matrix units.
LlamaConfig MakeConfig() {
  LlamaConfig config;
  config.vocab_size = kVocabSize;
  config.hidden_size = 192;
  config.intermediate_size = 320;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
  config.max_position_embeddings = 64;
  config.rms_norm_eps = 1e-5;
  return config;
}

// Norms are one, matrices uniform with a standard deviation that keeps the activations' size.
void Fill(const ExpectedTensor& tensor, std::span<float> values) {
  if (tensor.shape.size() == 1) {
    std::fill(values.begin(), values.end(), 1.0F);
    return;
  }
  uint64_t state = std::accumulate(
      tensor.name.begin(), tensor.name.end(), uint64_t{1},
      [](uint64_t sum, char c) { return sum * 31 + static_cast<unsigned char>(c); });
  const float scale = 1.7F / std::sqrt(static_cast<float>(tensor.shape[1]));
  for (float& value : values) {
    state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX
    value = (static_cast<float>(state >> 40) / static_cast<float>(1 << 23) - 1.0F) * scale;
  }
}

at::Tensor Int32s(const std::vector<int32_t>& values, at::Device device) {
  at::Tensor tensor =
      at::empty({static_cast<int64_t>(values.size())}, at::TensorOptions().dtype(at::kInt));
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<int32_t>());
  return tensor.to(device);
}

// The `count` tokens from position `first` on, of one sequence; a single one is a decode.
StepBatch MakeBatch(int32_t first, int32_t count, at::Device device) {
  std::vector<int32_t> ids(static_cast<size_t>(count));
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), first);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = positions[i] * 7 % kVocabSize;
  const bool is_decode = count == 1;
  StepBatch batch;
  batch.num_tokens = count;
  batch.token_ids = Int32s(ids, device);
  batch.positions = Int32s(positions, device);
  batch.cache_slots = batch.positions.to(at::kLong);
  batch.attention = {.query_start_locations = Int32s({0, count}, device),
                     .context_lengths = Int32s({first + count}, device),
                     .block_tables = Int32s({0, 1}, device).view({1, 2}),
                     .num_decode_sequences = is_decode ? 1 : 0};
  batch.rope_spans = {{.num_rows = count, .sequence_length = first + count}};
  batch.logit_rows = Int32s({count - 1}, device).to(at::kLong);
  batch.num_logit_rows = 1;
  return batch;
}

}  // namespace

absl::StatusOr<std::vector<float>> ReferenceModelLogits(ComputeDevice& device, at::ScalarType dtype,
                                                        absl::Duration timeout,
                                                        KernelContext& context) {
  const LlamaConfig config = MakeConfig();
  const Checkpoint checkpoint = Checkpoint::Make(config, Fill);
  const ShardPlan plan = MakeShardPlan(config, 0, 1);
  const ModelOptions options = {
      .dtype = dtype, .device = device.device(), .max_num_tokens = kPromptTokens};
  LlamaModel model(config, checkpoint, plan, options, context, nullptr);
  KvCache cache(CacheGeometry(config, plan, options, kBlockSize), /*num_blocks=*/2);
  LocalCommunicator alone(device, timeout);
  std::vector<float> all;
  for (const auto& [first, count] : {std::pair(0, kPromptTokens), std::pair(kPromptTokens, 1)}) {
    const StepBatch batch = MakeBatch(first, count, device.device());
    at::Tensor hidden;
    at::Tensor logits;
    absl::Status status = model.Forward(batch, alone, cache, hidden);
    if (status.ok()) status = model.Logits(hidden, alone, logits);
    if (status.ok()) status = alone.Wait();
    if (!status.ok()) return status;
    const at::Tensor host = logits.cpu();
    const auto* values = host.const_data_ptr<float>();
    all.insert(all.end(), values, values + kVocabSize);
  }
  return all;
}

std::span<const float> StoredLogits() { return kStoredLogits; }

absl::Status CompareWithStored(std::span<const float> logits, at::ScalarType dtype,
                               const std::string& description) {
  // Of what sums in another order, or rounded weights and activations, change: many times. TF32 in
  // the place of float32 changes 1e-3 or half of it.
  const double limit = dtype == at::kFloat ? 1e-4 : dtype == at::kHalf ? 0.03 : 0.15;
  double difference = 0.0;
  double size = 0.0;
  for (size_t i = 0; i < kStoredLogits.size(); ++i) {
    difference += std::pow(logits[i] - kStoredLogits[i], 2);
    size += std::pow(kStoredLogits[i], 2);
  }
  const double relative = std::sqrt(difference / size);
  if (relative <= limit) return absl::OkStatus();
  const char* other_cause =
      dtype == at::kFloat ? "Unset NVIDIA_TF32_OVERRIDE, which puts TF32 in float32's place. " : "";
  return absl::InternalError(absl::StrFormat(
      "self-test: the logits of a small model differ from their known values by %.3g of their size "
      "(%.3g is allowed in %s): %s computes wrong. %sLook for hardware errors (dmesg; on a GPU "
      "nvidia-smi -q, Xid and ECC), and try another driver, device or --dtype",
      relative, limit, c10::toString(dtype), description, other_cause));
}

}  // namespace lockstep::worker
