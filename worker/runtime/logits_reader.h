#ifndef LOCKSTEP_WORKER_RUNTIME_LOGITS_READER_H_
#define LOCKSTEP_WORKER_RUNTIME_LOGITS_READER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "worker/kernels/thread_pool.h"
#include "worker/runtime/batch_builder.h"
#include "worker/runtime/slot_masks.h"
#include "worker/runtime/slot_table.h"
#include "worker/runtime/step_plan.h"
#include "worker/sampling/sampler.h"

namespace lockstep::worker {

// Rank 0's use of a step's logits: samples tokens, looks up the prompt's, and reports what was
// asked for.
class LogitsReader {
 public:
  // The pool is borrowed.
  LogitsReader(ThreadPool& pool, int64_t vocab_size);

  // Makes room in `result` for the tokens of the batch.
  static void Prepare(const BuiltBatch& built, StepResult& result);

  // Token and report of `choice`; slot and position stay.
  static void FillIn(SampledChoice choice, SampledToken& token);

  // Uses the step's logit rows from `first_row` on; `spans` are all of the step's.
  //
  //   logits  [num_rows, vocab_size] float32, on the host
  //
  // Slots that `masks` names choose among the tokens that it allows. A broken row concerns its own
  // token alone.
  void Read(const std::vector<LogitSpan>& spans, const SlotTable& slots, const SlotMasks& masks,
            const at::Tensor& logits, int64_t first_row, StepResult& result);

 private:
  // One row that becomes a token of the result.
  struct TokenRow {
    LogitSpan::Use use = LogitSpan::Use::kSample;
    const float* logits = nullptr;
    SampledToken* token = nullptr;
    std::span<const uint32_t> mask;
  };

  // Fills the row's token.
  void ReadToken(const TokenRow& row, const SlotTable& slots, Sampler& sampler) const;

  ThreadPool& pool_;
  const int64_t vocab_size_;
  std::vector<Sampler> samplers_;  // one per thread
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_LOGITS_READER_H_
