#ifndef LOCKSTEP_WORKER_LAYERS_ROTARY_EMBEDDING_H_
#define LOCKSTEP_WORKER_LAYERS_ROTARY_EMBEDDING_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/checkpoint/llama_config.h"
#include "worker/kernels/kernel_context.h"

namespace lockstep::worker {

// Consecutive rows of a step that are rotated with the same frequencies.
struct RopeSpan {
  int64_t num_rows = 0;
  // Dynamic and long RoPE: the length that the frequencies are those of. See RotaryEmbedding.
  int64_t sequence_length = 0;
};

// The frequencies of rotary position embedding (Su et al. 2021) and its scaled variants, computed
// in float32 in the order of Hugging Face's modeling_rope_utils.py, with the same library's
// functions, so that they agree with the reference bit for bit.
//
// Dynamic NTK scaling and LongRoPE depend on a length. The reference takes the length of the
// forward pass that a token first runs in. Here a token of the prompt takes the prompt's whole
// length and a generated token at position p takes p + 1, which is the same for a prompt that runs
// at once followed by single tokens, and does not depend on how the prompt is cut into chunks, on
// other requests, or on whether tokens are recomputed after a preemption.
class RotaryEmbedding {
 public:
  RotaryEmbedding(const LlamaConfig& config, at::Device device);

  // Whether rows differ in their frequencies at all, so that spans are needed.
  bool is_dynamic() const { return base_length_.has_value(); }

  // Cosines and sines of a step's rows.
  //
  //   positions  [num_tokens] int32
  //   spans      cover the rows in order; read where is_dynamic()
  //   cos_sin    [num_tokens, head_dim] float32
  void ComputeCosSin(KernelContext& context, const at::Tensor& positions,
                     const std::vector<RopeSpan>& spans, at::Tensor& cos_sin) const;

 private:
  // [head_dim / 2] float32; `sequence_length` is of no matter where !is_dynamic().
  at::Tensor InvFreq(int64_t sequence_length) const;

  const RopeParameters rope_;
  const int64_t head_dim_;
  const int64_t max_position_embeddings_;
  const std::optional<int64_t> base_length_;  // up to which inv_freq_ holds
  const at::Device device_;
  at::Tensor inv_freq_;       // [head_dim / 2] float32
  at::Tensor long_inv_freq_;  // LongRoPE's beyond base_length_
  double attention_scaling_ = 1.0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LAYERS_ROTARY_EMBEDDING_H_
