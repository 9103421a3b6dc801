// The scheduler: decides, step by step, which sequences run how many tokens in which KV blocks.
//
// A pure state machine: no threads, no locks, no I/O, no clock of its own. Every call may produce
// events, which TakeEvents() hands over in the order in which they are to be delivered.
#ifndef LOCKSTEP_SERVER_SCHEDULER_SCHEDULER_H_
#define LOCKSTEP_SERVER_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/scheduler/block_pool.h"
#include "server/scheduler/event.h"
#include "server/scheduler/least_work.h"
#include "server/scheduler/prefix_cache.h"
#include "server/scheduler/request.h"
#include "server/scheduler/sequence.h"
#include "server/worker_pool/step_result.h"

namespace lockstep::server {

// Those without a remark of their own must be at least 1.
struct SchedulerOptions {
  int32_t max_model_len = 2048;  // tokens of prompt and answer together
  int32_t max_num_seqs = 256;    // slots
  int32_t max_num_batched_tokens = 1024;
  int32_t block_size = 16;  // tokens per KV block
  // Token ids of results are below it, and rows of logits as long.
  int32_t vocab_size = std::numeric_limits<int32_t>::max();
  // Plans that may be unconfirmed at once: with 2, a step is on its way while the one before it
  // runs.
  int32_t max_steps_in_flight = 2;
  // Sequences that begin with the same tokens share the blocks of these.
  bool enable_prefix_caching = true;
  // Keys of positions from here on, or of longer prompts, depend on more than the tokens before
  // them (dynamic RoPE), so that their blocks are not shared.
  int32_t max_shared_len = std::numeric_limits<int32_t>::max();
  // Requests that may wait beside those for which a slot is free; may be 0.
  int32_t max_queued_requests = 1024;
  // Tokens of waiting requests together, beside those for which slots and blocks are free; 0: no
  // limit. Requests that come together to an empty queue are always taken.
  int64_t max_queued_tokens = 0;

  // That one sequence of max_model_len tokens takes.
  uint32_t min_kv_blocks() const {
    return static_cast<uint32_t>((max_model_len + block_size - 1) / block_size);
  }
};

// What a confirmed step did.
struct StepSummary {
  uint64_t step = 0;
  absl::Duration duration;  // on the workers
  // Tokens of prompts (and of what preemptions made necessary again), and tokens that continue an
  // answer.
  int32_t num_prefill_tokens = 0;
  int32_t num_decode_tokens = 0;
  // Those of them that had been run before, by sequences that lost their blocks.
  int32_t num_recomputed_tokens = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  // The workers are ready, and their KV cache holds a sequence of max_model_len tokens at least.
  // Until then requests wait, and no step is planned. Call at most once.
  void Start(uint32_t num_kv_blocks);

  // RESOURCE_EXHAUSTED where so many requests more, of so many prompt tokens together, are too many
  // to wait. Requests that come together are asked for together: they wait all or none.
  absl::Status CheckQueue(size_t num_requests, int64_t num_tokens) const;

  // Takes a request for which the queue has room; `handle` must be new, and prompt and answer as
  // long as EngineRequest says. Refused, without an event:
  //   DEADLINE_EXCEEDED   the deadline cannot be met, even by the fastest steps seen so far
  absl::Status Add(RequestHandle handle, std::shared_ptr<const EngineRequest> request);

  // Ends a request in any phase. An error status wins over `reason`. Unknown and ended handles are
  // ignored.
  void Finish(RequestHandle handle, v1::FinishReason reason, absl::Status status);

  // The mask of the guided request's token at `position` is there. Unknown handles are ignored.
  void SetMaskPosition(RequestHandle handle, int32_t position);
  // The guided request's next mask is late, and nobody should wait for it: what the steps in flight
  // sample for it is dropped, it gives up slot and blocks, and waits for its masks from now on.
  // Unknown handles are ignored.
  void HoldBack(RequestHandle handle);

  // The newest step with a row of the request, 0 for none; nothing for unknown and ended handles.
  std::optional<uint64_t> LastStepOf(RequestHandle handle) const;

  // Ends every request with `status`.
  void FinishAll(const absl::Status& status);

  // Ends the requests whose deadline has passed, with DEADLINE_EXCEEDED.
  void Expire(absl::Time now);
  // When Expire() has something to do next; InfiniteFuture: never.
  absl::Time NextDeadline() const;

  // The next step, or none if there is nothing to run or too much in flight. Plans must reach the
  // workers in order.
  std::optional<worker::v1::StepPlan> Schedule(absl::Time now);

  // The result of the oldest step in flight. INTERNAL, with nothing changed, if it is not what the
  // plan asked for: the workers cannot be trusted any more.
  absl::StatusOr<StepSummary> Apply(StepResult result, absl::Time now);

  const std::vector<Event>& events() const { return events_; }
  std::vector<Event> TakeEvents() { return std::exchange(events_, {}); }
  // Those of the plans since the last call, in order of steps.
  std::vector<GuidedRow> TakeGuidedRows() { return std::exchange(guided_rows_, {}); }

  // Gauges.
  bool started() const { return blocks_ != nullptr; }
  size_t num_running() const { return running_.size(); }
  size_t num_waiting() const { return waiting_.size(); }
  int64_t num_waiting_tokens() const { return num_waiting_tokens_; }
  size_t num_steps_in_flight() const { return in_flight_.size(); }
  // Blocks that steps in flight still use count as used.
  uint32_t num_blocks() const { return blocks_ ? blocks_->num_blocks() : 0; }
  uint32_t num_used_blocks() const { return blocks_ ? blocks_->num_used() : 0; }
  // Counters.
  uint64_t num_steps() const { return last_applied_step_; }
  uint64_t num_prompt_tokens() const { return num_prompt_tokens_; }
  uint64_t num_generated_tokens() const { return num_generated_tokens_; }
  uint64_t num_preemptions() const { return num_preemptions_; }
  uint64_t num_held_back() const { return num_held_back_; }
  // Prompt tokens that were looked for in the prefix cache, and those found. Once per request.
  uint64_t num_cache_queries() const { return num_cache_queries_; }
  uint64_t num_cache_hits() const { return num_cache_hits_; }

 private:
  // What one step in flight will report about one slot.
  struct Row {
    RequestHandle handle = 0;  // the request may have ended since
    uint32_t slot = 0;
    bool samples = false;
    int32_t num_logits = 0;          // rows
    int32_t position = 0;            // of the sampled token, or of the first row of logits
    int32_t first_prompt_token = 0;  // position of the first prompt token that is reported
    int32_t num_prompt_tokens = 0;   // that are reported
    int32_t end = 0;                 // positions before this have run
  };
  struct StepInFlight {
    uint64_t step = 0;
    int32_t num_prefill_tokens = 0;
    int32_t num_decode_tokens = 0;
    int32_t num_recomputed_tokens = 0;
    // It computes more logits than those of the tokens that it chooses.
    bool reports_logits = false;
    std::vector<Row> rows;
    // Blocks whose sequence has ended or was preempted, and which this step is the last to use.
    std::vector<BlockTable> released_blocks;
  };
  // A plan being made.
  struct Draft {
    worker::v1::StepPlan plan;
    std::vector<worker::v1::ScheduledSlot> prefills;
    StepInFlight step;
    int32_t prefill_budget = 0;  // tokens that the decodes have left
    // A sequence lacks blocks: none is admitted.
    bool short_of_blocks = false;
    size_t num_sampling = 0;  // running sequences that grow
  };
  // Where in a result the reports of one slot are.
  struct Report {
    int sampled = -1;            // -1: nowhere
    std::vector<size_t> logits;  // parts, in order of position
    std::vector<int> prompt_tokens;
  };

  // --- Making a plan (scheduler_plan.cc) ---
  // One token of each running sequence that has no more to run: of prefills too, their last.
  void ScheduleDecodes(Draft& draft);
  // As many tokens as there are of what else runs, or can be admitted.
  void SchedulePrefills(Draft& draft, absl::Time now);
  // Admits a waiting sequence, or ends it or lets others pass; false: none is to be admitted.
  bool AdmitNext(Sequence& sequence, Draft& draft, absl::Time now);
  // `cached`: the blocks that FindCached has found.
  bool CanAdmit(const Sequence& sequence, const std::vector<uint32_t>& cached,
                size_t num_sampling) const;
  void Admit(Sequence& sequence, const std::vector<uint32_t>& cached, Draft& draft, absl::Time now);
  void AddRow(Sequence& sequence, int32_t num_tokens, BlockTable new_blocks, Draft& draft);
  Row ExpectedRow(const Sequence& sequence, int32_t num_tokens) const;
  // Tokens that a running sequence could run in the next step, were there no budget.
  int32_t NumRunnable(const Sequence& sequence) const;
  // Takes the blocks that `sequence` lacks to hold `num_positions`, preempting from the end of the
  // order if need be. Nothing: `sequence` has to wait for blocks in flight, or was itself
  // preempted.
  std::optional<BlockTable> TakeBlocks(Sequence& sequence, int32_t num_positions);
  BlockTable AllocateBlocks(uint32_t num_blocks);
  bool BlocksReturnWithStepsInFlight() const;
  void Preempt(Sequence& sequence);
  // Forgets what the steps in flight sample for it.
  void DropSamples(Sequence& sequence);

  // --- Shared prefixes (scheduler_cache.cc) ---
  struct PromptGroup {
    int32_t num_members = 0;
    // Runs the prompt, for the others to share; 0: none yet.
    RequestHandle leader = 0;
    bool prompt_done = false;
  };
  void SetCacheUse(Sequence& sequence) const;
  std::vector<uint32_t> FindCached(const Sequence& sequence) const;
  // Caches the full blocks among the positions before `end`, which have run.
  void FillCache(Sequence& sequence, int32_t end);
  void JoinGroup(const Sequence& sequence);
  void LeaveGroup(const Sequence& sequence);
  // Whether `sequence` should wait for the blocks that its group's leader is filling.
  bool HeldByGroup(const Sequence& sequence);

  // --- Results (scheduler_apply.cc) ---
  // One report for each row of `step`, if the result has just what the rows ask for.
  absl::StatusOr<std::vector<Report>> MatchResult(const StepInFlight& step,
                                                  const StepResult& result) const;
  // The blocks of its tokens are not found any more: what made its logits not finite may lie there.
  void ForgetCached(const Sequence& sequence);
  // The first of the report's tokens whose logits were not finite; null: there is none.
  static const worker::v1::SampledToken* FindBrokenToken(const Report& report,
                                                         const worker::v1::StepResult& fields);
  // INTERNAL for a token that the model does not have.
  absl::Status CheckTokens(const StepResult& result) const;
  // [max_num_seqs]
  absl::StatusOr<std::vector<Report>> ReportsBySlot(const StepResult& result) const;
  void ApplyToken(Sequence& sequence, worker::v1::SampledToken token, absl::Time now);
  void ApplyPromptTokens(Sequence& sequence, const std::vector<int>& indexes, StepResult& result);
  void ApplyLogits(Sequence& sequence, const std::vector<size_t>& parts, StepResult& result);

  // --- Life of a sequence (scheduler.cc) ---
  // Of the waiting sequences that come first, as many as there are free slots.
  int64_t NumTokensWithSlots() const;
  // The least time until the end of a sequence that begins now.
  absl::Duration LeastWorkOf(const Sequence& sequence, size_t num_cached_blocks) const;
  // DEADLINE_EXCEEDED if it has too little time left. `is_alone`: nothing would gain by its end,
  // and to run it shows whether the estimate was right; so it has its time.
  absl::Status CheckDeadline(const Sequence& sequence, absl::Duration least_work, absl::Time now,
                             bool is_alone) const;
  int32_t NumBlocksFor(int32_t num_positions) const {
    return (num_positions + options_.block_size - 1) / options_.block_size;
  }
  bool InFlight(const Sequence& sequence) const { return sequence.last_step > last_applied_step_; }
  void Enqueue(Sequence& sequence);
  void Dequeue(Sequence& sequence);
  // Takes slot and blocks from a running sequence. The blocks are free when no step in flight uses
  // them.
  void StopRunning(Sequence& sequence);
  void End(RequestHandle handle, v1::FinishReason reason, absl::Status status,
           std::optional<int32_t> stop_token_id = std::nullopt);
  template <typename What>
  void Emit(RequestHandle handle, What what) {
    Event& event = events_.emplace_back();
    event.handle = handle;
    event.what.template emplace<What>(std::move(what));
  }

  const SchedulerOptions options_;
  std::vector<Event> events_;
  std::vector<GuidedRow> guided_rows_;

  // Null until Start().
  std::unique_ptr<PrefixCache> cache_;
  // Null until Start(). Tells cache_ of reuse. Outlives the block tables in sequences_ and
  // in_flight_: keep it above them.
  std::unique_ptr<BlockPool> blocks_;
  absl::flat_hash_map<RequestHandle, std::unique_ptr<Sequence>> sequences_;
  std::set<Sequence*, ScheduledBefore> waiting_;
  std::vector<Sequence*> running_;  // sorted by ScheduledBefore
  std::set<std::pair<absl::Time, RequestHandle>> deadlines_;
  int64_t num_waiting_tokens_ = 0;
  LeastWork least_work_;
  absl::flat_hash_map<uint64_t, PromptGroup> groups_;

  // The lowest first, so that the workers' arrays stay dense.
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> free_slots_;
  std::vector<uint32_t> released_slots_;  // to be named by the next plan; they are free for it
  uint64_t last_planned_step_ = 0;
  uint64_t last_applied_step_ = 0;
  std::deque<StepInFlight> in_flight_;

  uint64_t num_prompt_tokens_ = 0;
  uint64_t num_generated_tokens_ = 0;
  uint64_t num_preemptions_ = 0;
  uint64_t num_held_back_ = 0;
  uint64_t num_cache_queries_ = 0;
  uint64_t num_cache_hits_ = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_SCHEDULER_H_
