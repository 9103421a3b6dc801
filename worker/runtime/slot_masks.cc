#include "worker/runtime/slot_masks.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {

absl::StatusOr<SlotMasks> SlotMasks::Index(TokenMasks masks, int64_t vocab_size) {
  const auto num_words = static_cast<size_t>((vocab_size + 31) / 32);
  SlotMasks indexed;
  for (SlotMask& mask : masks.masks) {
    if (mask.allowed.empty()) continue;
    if (mask.allowed.size() != num_words) {
      return absl::InternalError(absl::StrCat("the mask of slot ", mask.slot, " has ",
                                              mask.allowed.size(), " words; the vocabulary takes ",
                                              num_words));
    }
    indexed.by_slot_[mask.slot] = std::move(mask.allowed);
  }
  return indexed;
}

std::span<const uint32_t> SlotMasks::Of(uint32_t slot) const {
  const auto it = by_slot_.find(slot);
  if (it == by_slot_.end()) return {};
  return it->second;
}

}  // namespace lockstep::worker
