#ifndef LOCKSTEP_WORKER_LAYERS_STEP_BATCH_H_
#define LOCKSTEP_WORKER_LAYERS_STEP_BATCH_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/kernels/paged_attention.h"
#include "worker/layers/rotary_embedding.h"

namespace lockstep::worker {

// The tokens of one step, as every layer needs them. Rows of a sequence are consecutive; sequences
// in decode come first. Tensors are on the model's device.
struct StepBatch {
  int64_t num_tokens = 0;
  at::Tensor token_ids;    // [num_tokens] int32
  at::Tensor positions;    // [num_tokens] int32
  at::Tensor cache_slots;  // [num_tokens] int64: block · block_size + offset; negative: none
  AttentionBatch attention;
  std::vector<RopeSpan> rope_spans;
  // The rows whose logits are wanted, ascending.
  at::Tensor logit_rows;  // [num_logit_rows] int64
  int64_t num_logit_rows = 0;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LAYERS_STEP_BATCH_H_
