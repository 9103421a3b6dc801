#ifndef LOCKSTEP_WORKER_SAMPLING_LOGITS_PROCESSORS_H_
#define LOCKSTEP_WORKER_SAMPLING_LOGITS_PROCESSORS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "worker/sampling/sampling_parameters.h"

namespace lockstep::worker {

// What changes single tokens' logits before a token is chosen, greedily or by a draw. In this
// order, which is that of transformers' generate() for what it has:
//
//   1. logit_bias          added (SequenceBiasLogitsProcessor with sequences of one token)
//   2. repetition_penalty  of tokens in prompt or answer: a positive logit is divided by it, a
//                          negative one multiplied (RepetitionPenaltyLogitsProcessor)
//   3. presence_penalty    subtracted from the logits of tokens in the answer, and
//      frequency_penalty   for each time that they are in it
//   4. min_new_tokens      end tokens are forbidden until the answer has that many
//   5. allowed_token_ids   every other token is forbidden
//   6. a guide's mask      every token that is not in it is forbidden
//
// Forbidden means negative infinity. A finite logit stays finite, however large a penalty is.
//
// Costs one pass over the row and one over the history, and nothing where all are off. Keeps
// scratch memory of the vocabulary's size. One per thread.
class LogitsProcessors {
 public:
  // The row as changed: `logits` itself where nothing applies, else memory of this object that the
  // next call overwrites.
  //
  //   logits   [vocab_size]
  //   history  the sequence's tokens before `position`, prompt and answer: [position]. Read only
  //            with penalties; tokens beyond the vocabulary are ignored
  //   mask     [ceil(vocab_size / 32)], as in SlotMask; or empty: no mask
  std::span<const float> Apply(std::span<const float> logits, const SamplingParameters& parameters,
                               uint32_t position, std::span<const uint32_t> history,
                               std::span<const uint32_t> mask = {});

 private:
  void AddBias(const SamplingParameters& parameters);
  void Penalize(const SamplingParameters& parameters, std::span<const uint32_t> history);
  void ForbidEndTokens(const SamplingParameters& parameters);
  void ForbidAllBut(std::span<const uint32_t> allowed);
  void ForbidUnmasked(std::span<const uint32_t> mask);

  std::vector<float> processed_;
  // What the history has of a token. Zero between calls but for the tokens in touched_ids_.
  struct Occurrences {
    uint32_t in_answer = 0;
    bool in_history = false;
  };
  std::vector<Occurrences> occurrences_;
  std::vector<uint32_t> touched_ids_;
  std::vector<float> allowed_logits_;
};

// Whether the row depends on the tokens before it.
bool HasPenalties(const SamplingParameters& parameters);

// Whether min_new_tokens forbids the end tokens at `position`.
bool ForbidsEndTokens(const SamplingParameters& parameters, uint32_t position);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_LOGITS_PROCESSORS_H_
