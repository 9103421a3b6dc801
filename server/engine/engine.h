// The engine: one thread that owns the scheduler and turns requests into steps and step results
// into tokens.
#ifndef LOCKSTEP_SERVER_ENGINE_ENGINE_H_
#define LOCKSTEP_SERVER_ENGINE_ENGINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/engine/output_sink.h"
#include "server/engine/request.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

// Counters and gauges of one moment.
struct EngineSnapshot {
  uint64_t num_running = 0;
  uint64_t num_waiting = 0;
  uint64_t num_waiting_tokens = 0;
  // Until all that wait now have been scheduled; nothing if no queue has been seen to move.
  std::optional<absl::Duration> queue_delay;
  uint64_t kv_blocks_total = 0;
  uint64_t kv_blocks_used = 0;
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t preemptions = 0;
  // Guided requests that made way because their mask was late.
  uint64_t held_back = 0;
  // Prompt tokens that were looked for in the prefix cache, and those found.
  uint64_t prefix_cache_queries = 0;
  uint64_t prefix_cache_hits = 0;
};

// A request and where its answer goes.
struct Submission {
  std::unique_ptr<const EngineRequest> request;
  std::shared_ptr<OutputSink> sink;
};

// What rpc/ and admission/ use. Thread-safe; no call blocks on the model.
class Engine {
 public:
  virtual ~Engine() = default;

  // Hands requests over that belong together: they are scheduled at the same moment, so that those
  // which fit one step's token budget run in one step. Handles in the order of `batch`. Whatever
  // becomes of a request, its sink's OnComplete is called exactly once, also for a refusal:
  //   RESOURCE_EXHAUSTED  the queue is full
  //   DEADLINE_EXCEEDED   the deadline cannot be met
  //   UNAVAILABLE         the pool has failed, or the engine is draining or stopped
  // Requests that come before the pool is ready wait for it.
  virtual std::vector<RequestHandle> SubmitBatch(std::vector<Submission> batch) = 0;

  // Ends a request early: it is part of no step that is planned from now on, and its slot and
  // blocks are free when the steps in flight are done. The sink sees OnComplete with `status`, or,
  // where `status` is OK, with `reason` (STOP_STRING, TIME_LIMIT, ABORTED). Unknown and ended
  // handles are ignored. `since`: when what ends it happened, such as a client's going away.
  virtual void Finish(RequestHandle handle, v1::FinishReason reason, absl::Status status,
                      absl::Time since) = 0;

  // No new requests from now on; those alive go on.
  virtual void Drain() = 0;

  // Why any request would be refused now, by what SubmitBatch says, before anything is done for it.
  virtual absl::Status CheckOpen() const = 0;

  virtual EngineSnapshot Snapshot() const = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_ENGINE_H_
