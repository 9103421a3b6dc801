#include "worker/sampling/packed_rows.h"

#include <algorithm>
#include <bit>

#include "worker/sampling/logits_processors.h"
#include "worker/sampling/philox.h"
#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

using Row = DeviceSampler::Row;

// Places words one after another, or, without memory, only counts them.
class WordWriter {
 public:
  explicit WordWriter(uint32_t* words) : words_(words) {}

  cuda::WordSpan Write(std::span<const uint32_t> source) {
    const cuda::WordSpan span = {.begin = num_words_, .size = static_cast<uint32_t>(source.size())};
    if (words_ != nullptr) std::copy(source.begin(), source.end(), words_ + num_words_);
    num_words_ += span.size;
    return span;
  }
  cuda::WordSpan Write(const std::map<uint32_t, float>& bias) {
    const cuda::WordSpan span = {.begin = num_words_,
                                 .size = static_cast<uint32_t>(2 * bias.size())};
    for (const auto& [token, value] : bias) {
      (void)Write(std::array<uint32_t, 2>{token, std::bit_cast<uint32_t>(value)});
    }
    return span;
  }
  uint32_t num_words() const { return num_words_; }

 private:
  uint32_t* words_;
  uint32_t num_words_ = 0;
};

void PackProcessors(const Row& row, WordWriter& writer, cuda::SampledRow& packed) {
  const SamplingParameters& parameters = *row.parameters;
  packed.has_penalties = HasPenalties(parameters);
  packed.bias = writer.Write(parameters.logit_bias);
  if (packed.has_penalties) packed.history = writer.Write(row.history);
  if (ForbidsEndTokens(parameters, row.position)) {
    packed.end_tokens = writer.Write(parameters.end_token_ids);
  }
  packed.allowed_tokens = writer.Write(parameters.allowed_token_ids);
  packed.mask = writer.Write(row.mask);
  packed.has_processors = packed.has_penalties || packed.bias.size > 0 ||
                          packed.end_tokens.size > 0 || packed.allowed_tokens.size > 0 ||
                          packed.mask.size > 0;
  packed.pending_slot = row.pending_slot;
  packed.num_prompt_tokens = parameters.num_prompt_tokens;
  const float repetition = parameters.repetition_penalty;
  packed.repetition_penalty = repetition == 0.0F ? 1.0F : repetition;
  packed.presence_penalty = parameters.presence_penalty;
  packed.frequency_penalty = parameters.frequency_penalty;
  packed.last_resort = LastResort(parameters, row.mask);
}

void PackDraw(const Row& row, uint32_t vocab_size, cuda::SampledRow& packed) {
  const SamplingParameters& parameters = *row.parameters;
  packed.temperature = parameters.temperature;
  if (parameters.temperature == 0.0F) return;
  packed.uniform = UniformAt(parameters.seed, row.position);
  packed.top_k = parameters.top_k < vocab_size ? parameters.top_k : 0;
  packed.top_p_removes =
      parameters.top_p < 1.0F ? 1.0 - static_cast<double>(parameters.top_p) : -1.0;
  packed.min_p = parameters.min_p;
  packed.typical_p = parameters.typical_p < 1.0F ? parameters.typical_p : 0.0F;
}

cuda::SampledRow PackRow(const Row& row, uint32_t vocab_size, WordWriter& writer) {
  cuda::SampledRow packed = {};
  packed.given_token = -1;
  if (row.known.has_value()) {
    packed.given_token = static_cast<int32_t>(row.known->token_id);
    packed.num_top = static_cast<int32_t>(std::min(row.known->num_top, vocab_size));
    return packed;
  }
  PackProcessors(row, writer, packed);
  PackDraw(row, vocab_size, packed);
  packed.num_top = std::min(row.parameters->num_logprobs, static_cast<int32_t>(vocab_size));
  return packed;
}

}  // namespace

int64_t NumPackedWords(std::span<const Row> rows, int64_t vocab_size) {
  WordWriter writer(nullptr);
  for (const Row& row : rows) (void)PackRow(row, static_cast<uint32_t>(vocab_size), writer);
  return writer.num_words();
}

void PackRows(std::span<const Row> rows, int64_t vocab_size, cuda::SampledRow* packed,
              uint32_t* words) {
  WordWriter writer(words);
  uint32_t num_top = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    packed[i] = PackRow(rows[i], static_cast<uint32_t>(vocab_size), writer);
    packed[i].top_begin = num_top;
    num_top += static_cast<uint32_t>(std::max(packed[i].num_top, 0));
  }
}

}  // namespace lockstep::worker
