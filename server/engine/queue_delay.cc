#include "server/engine/queue_delay.h"

#include <algorithm>

namespace lockstep::server {
namespace {

constexpr int kNumAveraged = 32;

}  // namespace

void QueueDelay::OnScheduled(absl::Time now, size_t num_waiting) {
  if (last_.has_value()) {
    num_intervals_ = std::min(num_intervals_ + 1, kNumAveraged);
    interval_ += (now - *last_ - interval_) / num_intervals_;
  }
  last_ = num_waiting > 0 ? std::optional(now) : std::nullopt;
}

std::optional<absl::Duration> QueueDelay::Estimate(absl::Time now, size_t num_waiting) const {
  if (num_intervals_ == 0) return std::nullopt;
  const absl::Duration usual = interval_ * static_cast<double>(num_waiting);
  return last_.has_value() ? std::max(usual, now - *last_) : usual;
}

}  // namespace lockstep::server
