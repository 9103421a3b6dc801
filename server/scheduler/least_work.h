// The least time that a request can take, from what steps have taken.
#ifndef LOCKSTEP_SERVER_SCHEDULER_LEAST_WORK_H_
#define LOCKSTEP_SERVER_SCHEDULER_LEAST_WORK_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace lockstep::server {

// Keeps the best seen, so that its estimates are lower bounds: a request that cannot meet its
// deadline at these rates is hopeless, however lucky it is. A step is taken to cost something once
// and something for each token. So a step of n tokens in a time t says that one of more takes t at
// least, and one of m < n tokens m / n of it. Zero until something has been measured.
class LeastWork {
 public:
  explicit LeastWork(int32_t max_tokens_of_step) : max_tokens_of_step_(max_tokens_of_step) {}

  // A step that ran so many tokens in `duration`, and whose only logits were those of the tokens
  // that it chose.
  void Observe(int32_t num_prefill_tokens, int32_t num_decode_tokens, absl::Duration duration) {
    if (duration <= absl::ZeroDuration()) return;
    const int32_t num_tokens = num_prefill_tokens + num_decode_tokens;
    if (num_tokens == 1) one_token_ = std::min(one_token_, duration);
    if (num_prefill_tokens >= kMinPrefillTokens &&
        duration / num_tokens < prefill_ / num_prefill_tokens_) {
      prefill_ = duration;
      num_prefill_tokens_ = num_tokens;
    }
  }

  // Of a prompt of which `num_prompt_tokens` have to be run, and `num_new_tokens` >= 1 tokens after
  // it.
  absl::Duration Estimate(int32_t num_prompt_tokens, int32_t num_new_tokens) const {
    const absl::Duration step = Known(one_token_);
    // In one step, or in as many full ones as it takes.
    const double share =
        std::max(std::min(1.0, static_cast<double>(num_prompt_tokens) / num_prefill_tokens_),
                 static_cast<double>(num_prompt_tokens) /
                     std::max(max_tokens_of_step_, num_prefill_tokens_));
    return std::max(step, share * Known(prefill_)) + (num_new_tokens - 1) * step;
  }

 private:
  // Smaller steps say little about large ones.
  static constexpr int32_t kMinPrefillTokens = 64;

  static absl::Duration Known(absl::Duration measured) {
    return measured == absl::InfiniteDuration() ? absl::ZeroDuration() : measured;
  }

  const int32_t max_tokens_of_step_;
  absl::Duration one_token_ = absl::InfiniteDuration();
  // The step that took the least for each of its tokens.
  absl::Duration prefill_ = absl::InfiniteDuration();
  int32_t num_prefill_tokens_ = 1;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_LEAST_WORK_H_
