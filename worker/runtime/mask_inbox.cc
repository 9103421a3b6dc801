#include "worker/runtime/mask_inbox.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {

void MaskInbox::Add(TokenMasks masks) {
  const std::lock_guard<std::mutex> lock(mutex_);
  masks_.push_back(std::move(masks));
  changed_.notify_all();
}

bool MaskInbox::IsDecided(uint64_t step) const {
  return is_aborted_ || (!masks_.empty() && masks_.back().step >= step);
}

absl::StatusOr<TokenMasks> MaskInbox::Wait(uint64_t step, absl::Duration timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto is_decided = [this, step] { return IsDecided(step); };
  if (!changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), is_decided)) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the masks of step ", step, " have not come within ", absl::FormatDuration(timeout)));
  }
  if (is_aborted_) return absl::CancelledError("aborted while waiting for masks");
  while (masks_.front().step < step) masks_.pop_front();
  TokenMasks masks = std::move(masks_.front());
  masks_.pop_front();
  if (masks.step != step) {
    return absl::InternalError(
        absl::StrCat("the masks of step ", masks.step, " came, and none of step ", step));
  }
  return masks;
}

void MaskInbox::Abort() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_aborted_ = true;
  changed_.notify_all();
}

}  // namespace lockstep::worker
