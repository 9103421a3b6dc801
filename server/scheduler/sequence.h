// One request on its way through the scheduler.
#ifndef LOCKSTEP_SERVER_SCHEDULER_SEQUENCE_H_
#define LOCKSTEP_SERVER_SCHEDULER_SEQUENCE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/scheduler/block_pool.h"
#include "server/scheduler/completion.h"
#include "server/scheduler/request.h"

namespace lockstep::server {

// Waiting (no slot, no blocks) or running (both). Preemption turns a running sequence into a
// waiting one.
struct Sequence {
  Sequence(RequestHandle handle, std::shared_ptr<const EngineRequest> request)
      : handle(handle), request(std::move(request)) {}

  const RequestHandle handle;
  const std::shared_ptr<const EngineRequest> request;

  // Tokens of the answer that have been received, and delivered.
  std::vector<int32_t> answer;
  // Tokens that steps in flight sample.
  int32_t num_pending_tokens = 0;
  // Rows of logits that have been delivered: none of positions below this is delivered again.
  int32_t num_delivered_rows = 0;
  // Prompt tokens below this position have been delivered with their log probabilities.
  int32_t num_delivered_prompt_tokens = 1;
  // The newest step with a row of this sequence; 0: none.
  uint64_t last_step = 0;
  // Positions that have been run at least once, or found in the cache.
  int32_t num_ever_run = 0;
  // status and reason are filled when the sequence ends.
  Completion completion;

  // A guide that was too slow: from then on, a row that samples is planned only once the mask of
  // its token is there.
  bool waits_for_mask = false;
  // The mask of the token at this position is there.
  int32_t mask_position = -1;

  // Its place in the order of scheduling: see ScheduledBefore. Never changes.
  absl::Time turn = absl::InfinitePast();

  // How it uses the prefix cache: see Scheduler::CacheUseOf.
  bool reads_cache = false;
  bool fills_cache = false;
  std::string cache_salt;

  // While running.
  std::optional<uint32_t> slot;
  BlockTable blocks;
  // Positions whose keys and values the plans so far have the workers write.
  int32_t num_run = 0;
  // The prefix cache has blocks with the tokens of so many of its first ones, its own or others.
  size_t num_cached_blocks = 0;
  // The node of the last of them. None: what follows would not be found.
  std::optional<PrefixCache::NodeId> last_cached_node;

  bool running() const { return slot.has_value(); }
  bool has_next_mask() const { return !waits_for_mask || mask_position == num_known_tokens(); }
  bool samples() const { return request->logits == worker::v1::LOGITS_NONE; }
  int32_t num_prompt_tokens() const { return static_cast<int32_t>(request->prompt.size()); }
  // Tokens that the workers know after the steps in flight, whether or not they have been received.
  int32_t num_known_tokens() const {
    return num_prompt_tokens() + static_cast<int32_t>(answer.size()) + num_pending_tokens;
  }
};

// What a request without a deadline, or with a distant one, is taken to be content with.
inline constexpr absl::Duration kPatience = absl::Minutes(1);
// What one level of priority is worth.
inline constexpr absl::Duration kPriorityHeadStart = absl::Minutes(10);

// The moment that gives a request its place: the last at which it can begin and meet its deadline
// (its slack, counted from a fixed point), or kPatience after its arrival if that is sooner; each
// level of priority puts it kPriorityHeadStart forward.
//
// So a higher priority goes first, then the smaller slack; and nobody starves: a request is
// overtaken by those that arrive within a bounded time after it (kPatience, and
// kPriorityHeadStart per level of priority between them), and by none that come later.
inline absl::Time TurnOf(const EngineRequest& request, absl::Duration least_work) {
  const absl::Time latest_start = request.deadline - least_work;
  return std::min(latest_start, request.arrival + kPatience) -
         request.priority * kPriorityHeadStart;
}

// The order in which sequences are scheduled, and the reverse of that in which they are preempted.
// Total, and the only place that says so: turn, then arrival, then the order of submission.
struct ScheduledBefore {
  bool operator()(const Sequence* a, const Sequence* b) const {
    if (a->turn != b->turn) return a->turn < b->turn;
    if (a->request->arrival != b->request->arrival) {
      return a->request->arrival < b->request->arrival;
    }
    return a->handle < b->handle;
  }
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_SEQUENCE_H_
