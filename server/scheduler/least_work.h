// The least time that a request can take, from what steps have taken.
#ifndef LOCKSTEP_SERVER_SCHEDULER_LEAST_WORK_H_
#define LOCKSTEP_SERVER_SCHEDULER_LEAST_WORK_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace lockstep::server {

// Keeps the best rates seen, so that its estimates are lower bounds: a request that cannot meet its
// deadline at these rates is hopeless, however lucky it is. Zero until something has been measured.
class LeastWork {
 public:
  // A step that ran so many tokens in `duration`.
  void Observe(int32_t num_prefill_tokens, int32_t num_decode_tokens, absl::Duration duration) {
    if (duration <= absl::ZeroDuration()) return;
    step_ = std::min(step_, duration);
    // Smaller steps are bound by what they do once.
    if (num_prefill_tokens >= kMinPrefillTokens) {
      per_prefill_token_ =
          std::min(per_prefill_token_, duration / (num_prefill_tokens + num_decode_tokens));
    }
  }

  // Of a prompt of which `num_prompt_tokens` have to be run, and `num_new_tokens` >= 1 tokens after
  // it.
  absl::Duration Estimate(int32_t num_prompt_tokens, int32_t num_new_tokens) const {
    const absl::Duration step = Known(step_);
    const absl::Duration prefill = std::max(step, num_prompt_tokens * Known(per_prefill_token_));
    return prefill + (num_new_tokens - 1) * step;
  }

 private:
  static constexpr int32_t kMinPrefillTokens = 64;

  static absl::Duration Known(absl::Duration measured) {
    return measured == absl::InfiniteDuration() ? absl::ZeroDuration() : measured;
  }

  absl::Duration step_ = absl::InfiniteDuration();
  absl::Duration per_prefill_token_ = absl::InfiniteDuration();
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_LEAST_WORK_H_
