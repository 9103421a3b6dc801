#ifndef LOCKSTEP_WORKER_RUNTIME_BATCH_BUILDER_H_
#define LOCKSTEP_WORKER_RUNTIME_BATCH_BUILDER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "worker/layers/step_batch.h"
#include "worker/runtime/slot_table.h"
#include "worker/runtime/step_inputs.h"

namespace lockstep::worker {

// Consecutive logit rows of a step that belong to one run.
struct LogitSpan {
  uint32_t slot = 0;
  int64_t num_rows = 0;
  uint32_t position = 0;  // of the first row's token
  enum class Use {
    kSample,        // the row chooses the next token
    kReport,        // the rows go to the frontend
    kPromptTokens,  // each row says how probable the token after it was, which is known
  };
  Use use = Use::kSample;
  // Index among the spans of the same use; for kPromptTokens, among their rows.
  size_t output = 0;
};

struct BuiltBatch {
  StepBatch batch;                     // on the inputs' device
  std::vector<LogitSpan> logit_spans;  // in the order of the logit rows
  // The rows that the spans cover: batch.num_logit_rows, less those of padding.
  int64_t num_logit_rows = 0;
  // Whether batch.token_ids has tokens that the host does not know: -1 - slot instead of an id.
  bool has_pending_tokens = false;
};

// Lays the runs out as the model's batch, in `inputs`. Decodes come first; there is a run or
// padding.
//
// Behind the runs come `num_padding_rows` rows that fill the batch up to a size: decodes of one
// token that is written to no cache slot, each with logits that nobody asked for. Only for steps
// whose runs are all decodes that want logits.
BuiltBatch BuildBatch(const SlotTable& slots, const std::vector<Run>& runs, int64_t block_size,
                      int64_t num_padding_rows, StepInputs& inputs);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_BATCH_BUILDER_H_
