// LogitsProcessors for a block of threads.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_PROCESSORS_CUH_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_PROCESSORS_CUH_

#include "worker/sampling/cuda/weights.cuh"

namespace lockstep::worker::cuda {

// Memory for one row at a time, [vocab_size] each.
struct RowScratch {
  float* logits;
  float* weights;
  unsigned* integers;
};

// What gives way, in this order, where every token is forbidden.
enum class Concession { kNone, kEndTokens, kAllowedTokens };

__device__ inline float Finite(float before, float after) {
  constexpr float kLargest = 3.402823466e38F;
  if (before == kForbidden) return before;
  return after < -kLargest ? -kLargest : kLargest < after ? kLargest : after;
}

class RowProcessors {
 public:
  __device__ RowProcessors(const Block& block, const SampledRowArguments& arguments,
                           const SampledRow& row, const RowScratch& scratch)
      : block_(block), a_(arguments), row_(row), scratch_(scratch) {}

  // Writes the changed row to scratch.logits, over all else in `scratch` too. Forbidding is final,
  // whenever it comes: it is done first here.
  __device__ void Apply(const float* logits, Concession concession) const {
    __syncthreads();
    CopyAllowed(logits, concession);
    __syncthreads();
    const uint32_t* bias = Words(row_.bias);
    block_.ForEach(static_cast<int>(row_.bias.size / 2), [&](int i) {
      const uint32_t token = bias[2 * i];
      if (!IsKnown(token)) return;
      float& logit = scratch_.logits[token];
      logit = Finite(logit, __fadd_rn(logit, __uint_as_float(bias[2 * i + 1])));
    });
    __syncthreads();
    if (row_.has_penalties) {
      ForEachOfHistory([&](uint32_t token, bool is_answer) { Count(token, is_answer); });
      __syncthreads();
      ForEachOfHistory([&](uint32_t token, bool) { Penalize(token); });
      __syncthreads();
    }
    if (concession == Concession::kNone) {
      const uint32_t* end_tokens = Words(row_.end_tokens);
      block_.ForEach(static_cast<int>(row_.end_tokens.size), [&](int i) {
        if (IsKnown(end_tokens[i])) scratch_.logits[end_tokens[i]] = kForbidden;
      });
    }
    __syncthreads();
  }

 private:
  __device__ const uint32_t* Words(const WordSpan& span) const { return a_.words + span.begin; }
  __device__ bool IsKnown(uint32_t token) const {
    return token < static_cast<uint32_t>(a_.vocab_size);
  }
  __device__ bool IsInMask(uint32_t token) const {
    return row_.mask.size == 0 || (Words(row_.mask)[token / 32] >> (token % 32) & 1U) != 0;
  }

  // The row with every token forbidden that the allowed tokens or the mask forbid.
  __device__ void CopyAllowed(const float* logits, Concession concession) const {
    const bool has_list = row_.allowed_tokens.size > 0 && concession != Concession::kAllowedTokens;
    block_.ForEach(a_.vocab_size, [&](int i) {
      const bool is_allowed = !has_list && IsInMask(static_cast<uint32_t>(i));
      scratch_.logits[i] = is_allowed ? logits[i] : kForbidden;
      if (row_.has_penalties) scratch_.integers[i] = 0;
    });
    if (!has_list) return;
    __syncthreads();
    const uint32_t* allowed = Words(row_.allowed_tokens);
    block_.ForEach(static_cast<int>(row_.allowed_tokens.size), [&](int i) {
      const uint32_t token = allowed[i];
      if (IsKnown(token) && IsInMask(token)) scratch_.logits[token] = logits[token];
    });
  }

  // Calls use(token, is_answer) for the tokens before the row, also the one that the host does not
  // know yet.
  template <typename Use>
  __device__ void ForEachOfHistory(const Use& use) const {
    const uint32_t* history = Words(row_.history);
    const auto size = static_cast<int>(row_.history.size);
    block_.ForEach(size + (row_.pending_slot >= 0 ? 1 : 0), [&](int i) {
      const uint32_t token =
          i < size ? history[i] : static_cast<uint32_t>(a_.last_tokens[row_.pending_slot]);
      if (IsKnown(token)) use(token, static_cast<uint32_t>(i) >= row_.num_prompt_tokens);
    });
  }

  // Of each token: whether it is in the prompt, in the lowest bit, and its number in the answer.
  __device__ void Count(uint32_t token, bool is_answer) const {
    if (is_answer) {
      atomicAdd(&scratch_.integers[token], 2U);
    } else {
      atomicOr(&scratch_.integers[token], 1U);
    }
  }

  // Once for each token, whoever comes first.
  __device__ void Penalize(uint32_t token) const {
    const unsigned occurrences = atomicExch(&scratch_.integers[token], 0U);
    if (occurrences == 0) return;
    const float before = scratch_.logits[token];
    float after = before;
    if (row_.repetition_penalty != 1.0F) {
      after = before < 0.0F ? __fmul_rn(before, row_.repetition_penalty)
                            : __fdiv_rn(before, row_.repetition_penalty);
    }
    if (const unsigned in_answer = occurrences / 2; in_answer > 0) {
      after = __fsub_rn(after, row_.presence_penalty);
      after = __fsub_rn(after, __fmul_rn(row_.frequency_penalty, static_cast<float>(in_answer)));
    }
    scratch_.logits[token] = Finite(before, after);
  }

  const Block& block_;
  const SampledRowArguments& a_;
  const SampledRow& row_;
  const RowScratch& scratch_;
};

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_PROCESSORS_CUH_
