// A worker without a model: carries out step plans as control_link.proto says, over a KV cache that
// holds the tokens themselves, and checks every promise that a plan makes. A plan that runs a wrong
// position, finds a token of another context in a block, or writes a block that several slots hold,
// is reported, not survived.
#ifndef LOCKSTEP_TESTS_TESTING_FAKE_WORKER_H_
#define LOCKSTEP_TESTS_TESTING_FAKE_WORKER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lockstep/worker/v1/control_link.pb.h"

namespace lockstep::testing {

struct FakeWorkerOptions {
  uint32_t num_kv_blocks = 256;
  uint32_t block_size = 16;
  uint32_t max_num_seqs = 256;
  uint32_t max_num_batched_tokens = 2048;
  uint32_t max_model_len = 2048;
  uint32_t max_steps_in_flight = 2;
  int32_t vocab_size = 64;
  // The token after `tokens`; -1: its logits are not finite; empty: FakeNextToken.
  std::function<int32_t(absl::Span<const int32_t> tokens, const worker::v1::Sampling& sampling)>
      next_token;
  // Logits of more rows come in parts. Of several rows the parts are in two shards, as from two
  // ranks.
  uint32_t max_rows_per_part = 1000;
  // Reported as each step's duration.
  uint64_t step_duration_ns = 1'000'000;
};

// Not thread-safe.
class FakeWorker {
 public:
  explicit FakeWorker(FakeWorkerOptions options);

  // Takes a plan, to run later. An error names the broken promise.
  absl::Status Accept(const worker::v1::StepPlan& plan);
  // Takes the masks of a plan that was taken.
  absl::Status Accept(const worker::v1::TokenMasks& masks);
  // Whether the oldest plan that was taken can run: its masks, if it needs any, are there.
  bool CanRun() const;
  // Runs the oldest plan that was taken. With its masks, where they are there; a guided row without
  // one chooses as any other.
  absl::StatusOr<worker::v1::StepResult> Run();

  size_t num_accepted() const { return accepted_.size(); }
  // Slots that the plans taken so far have not released.
  size_t num_live_slots() const { return promised_.size(); }

 private:
  // A slot as the plans describe it, before they run.
  struct PromisedSlot {
    uint32_t num_known_tokens = 0;
    // Unknown until the first row: a prefix may come with blocks that hold it.
    std::optional<uint32_t> num_run;
    bool samples = true;
    std::vector<uint32_t> blocks;
  };
  // A slot as the steps have left it.
  struct Slot {
    std::vector<int32_t> tokens;
    worker::v1::Sampling sampling;
    worker::v1::LogitsRequest logits = worker::v1::LOGITS_NONE;
    std::optional<uint32_t> num_prompt_logprobs;
    std::vector<uint32_t> blocks;
  };
  struct Cell {
    int32_t token = -1;
    uint32_t position = 0;
    uint64_t context = 0;  // hash of the tokens up to this one: keys and values depend on all
  };

  absl::Status AcceptRelease(uint32_t slot);
  absl::Status AcceptAdmission(const worker::v1::AdmittedSlot& admitted);
  absl::Status AcceptRow(const worker::v1::ScheduledSlot& row, uint64_t step);
  absl::Status AcceptBlocks(const worker::v1::ScheduledSlot& row, uint64_t step);
  absl::Status CheckBatch(const worker::v1::StepPlan& plan) const;
  absl::Status RunRow(const worker::v1::ScheduledSlot& row, const worker::v1::TokenMasks& masks,
                      worker::v1::StepResult& result);
  // The tokens that attention at position `end` - 1 reads, found through the block table.
  absl::StatusOr<std::vector<int32_t>> ReadCache(const Slot& slot, uint32_t end) const;
  // `mask`: as SlotMask.allowed, or empty.
  void Sample(uint32_t slot_number, Slot& slot, absl::Span<const int32_t> tokens,
              const std::string& mask, worker::v1::StepResult& result) const;
  void ReportPromptTokens(const worker::v1::ScheduledSlot& row, const Slot& slot,
                          worker::v1::StepResult& result) const;
  void ReportRows(uint32_t slot, uint32_t begin, uint32_t end, absl::Span<const int32_t> tokens,
                  worker::v1::StepResult& result) const;
  void ReportLogits(const worker::v1::ScheduledSlot& row, const Slot& slot,
                    absl::Span<const int32_t> tokens, worker::v1::StepResult& result) const;

  const FakeWorkerOptions options_;
  uint64_t last_accepted_ = 0;
  uint64_t last_run_ = 0;
  std::deque<worker::v1::StepPlan> accepted_;
  std::deque<worker::v1::TokenMasks> masks_;
  absl::flat_hash_map<uint32_t, PromisedSlot> promised_;
  std::vector<uint32_t> num_holders_;  // [num_kv_blocks]: live slots that hold the block
  std::vector<uint64_t> last_use_;     // [num_kv_blocks]: the newest step that touches it
  std::vector<uint64_t> last_write_;   // [num_kv_blocks]: the newest step that writes it
  absl::flat_hash_map<uint32_t, Slot> slots_;
  std::vector<Cell> cache_;  // [num_kv_blocks, block_size]
  uint64_t state_hash_ = 0;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_FAKE_WORKER_H_
