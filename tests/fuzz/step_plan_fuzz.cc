// Step plans as a worker gets them: each line of the input is one, in Protobuf's text format. What
// breaks the contract is an error, and a plan that is taken names only what there is.
#include <cstdlib>
#include <string>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/text_format.h"
#include "worker/link/messages.h"
#include "worker/runtime/slot_table.h"

namespace lockstep::worker {
namespace {

constexpr SlotTable::Limits kLimits = {.max_num_seqs = 4,
                                       .max_num_batched_tokens = 32,
                                       .max_model_len = 64,
                                       .block_size = 8,
                                       .num_kv_blocks = 16,
                                       .vocab_size = 100};

void CheckRun(const SlotTable& slots, const Run& run) {
  if (run.slot >= kLimits.max_num_seqs || run.num_tokens == 0) std::abort();
  const Slot& slot = slots.slot(run.slot);
  const size_t end = size_t{run.position} + run.num_tokens;
  if (end > slot.token_ids.size() || end > slot.blocks.size() * kLimits.block_size) std::abort();
  for (const int32_t block : slot.blocks) {
    if (block < 0 || static_cast<uint64_t>(block) >= kLimits.num_kv_blocks) std::abort();
  }
}

void ApplyLines(absl::string_view lines) {
  SlotTable slots(kLimits);
  for (const absl::string_view line : absl::StrSplit(lines, '\n')) {
    v1::StepPlan plan;
    if (!testing::ParseText(std::string(line), plan)) return;
    const auto runs = slots.Apply(FromProto(plan));
    if (!runs.ok()) return;
    for (const Run& run : *runs) {
      CheckRun(slots, run);
      if (run.reaches_end) slots.Append(run.slot, 7);
    }
  }
}

}  // namespace
}  // namespace lockstep::worker

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lockstep::worker::ApplyLines(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
