#ifndef LOCKSTEP_WORKER_RUNTIME_SLOT_MASKS_H_
#define LOCKSTEP_WORKER_RUNTIME_SLOT_MASKS_H_

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// A step's masks by slot.
class SlotMasks {
 public:
  // INTERNAL for a mask of another size than the vocabulary's.
  static absl::StatusOr<SlotMasks> Index(TokenMasks masks, int64_t vocab_size);

  // [ceil(vocab_size / 32)], as in SlotMask; empty: every token is allowed. Valid as long as this.
  std::span<const uint32_t> Of(uint32_t slot) const;

 private:
  std::map<uint32_t, std::vector<uint32_t>> by_slot_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_SLOT_MASKS_H_
