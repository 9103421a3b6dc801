// The launcher of the CUDA sampler: plain pointers to device memory. What the parameters mean is
// said in sampling_parameters.h; how rows are packed, in packed_rows.h.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_LAUNCHERS_H_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_LAUNCHERS_H_

#include <cstdint>

#include "worker/kernels/cuda/launchers.h"

namespace lockstep::worker::cuda {

// Masses of weights are exact integers of 32 bits up to this vocabulary.
inline constexpr int kMaxSampledVocab = 1 << 20;

// So many words of SampledRowArguments::words, from `begin` on.
struct WordSpan {
  uint32_t begin;
  uint32_t size;
};

struct SampledRow {
  double uniform;        // in [0, 1): the draw
  double top_p_removes;  // 1 - top_p; negative: off
  float temperature;     // 0: greedy
  float min_p;
  float typical_p;  // 0: off
  uint32_t top_k;   // 0: off; below the vocabulary's size
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  uint32_t num_prompt_tokens;
  WordSpan bias;     // pairs: token, bits of the float
  WordSpan history;  // for penalties
  WordSpan end_tokens;
  WordSpan allowed_tokens;
  WordSpan mask;
  uint32_t last_resort;  // where every token is forbidden, whatever gives way
  int32_t pending_slot;  // >= 0: last_tokens[pending_slot] follows the history
  int32_t given_token;   // >= 0: is reported, and nothing is chosen
  int32_t num_top;       // -1: no report; at most the vocabulary's size
  uint32_t top_begin;    // of the row's entries in SampledRowArguments::top
  bool has_processors;   // of LogitsProcessors, any
  bool has_penalties;
};

struct RowResult {
  double model_sum;  // of exp(logit - model_maximum) over the row, with num_top >= 0
  float model_maximum;
  float logit;  // of the token
  int32_t token_id;
  uint32_t rank;
  bool is_valid;  // the row has no NaN, no +infinity and a finite logit
};

struct TopLogit {
  uint32_t token_id;
  float logit;
};

struct SampledRowArguments {
  const float* logits;         // [num_rows, vocab_size]
  const int32_t* last_tokens;  // [max_num_seqs]
  const SampledRow* rows;      // [num_rows]
  const uint32_t* words;
  int64_t* token_ids;  // [num_rows]
  RowResult* results;  // [num_rows]
  TopLogit* top;       // each row's num_top most probable tokens, by token id
  float* scratch;      // SamplerScratchFloats(num_rows, vocab_size)
  int num_rows;
  int vocab_size;
};

int64_t SamplerScratchFloats(int64_t num_rows, int64_t vocab_size);
void LaunchSampleRows(const SampledRowArguments& arguments, Stream stream);

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_LAUNCHERS_H_
