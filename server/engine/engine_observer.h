// Told what the engine does, for the metrics and the log.
#ifndef LOCKSTEP_SERVER_ENGINE_ENGINE_OBSERVER_H_
#define LOCKSTEP_SERVER_ENGINE_ENGINE_OBSERVER_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "server/scheduler/completion.h"
#include "server/scheduler/request.h"
#include "server/scheduler/scheduler.h"

namespace lockstep::server {

// All calls come from the engine's thread; none may block.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;

  // The workers have finished a step.
  virtual void OnStepDone(const StepSummary& step) = 0;

  // A token of an answer has been received: `first`, this long after the request's arrival, or else
  // this long after the token before it.
  virtual void OnToken(bool first, absl::Duration elapsed) = 0;

  // A request that the scheduler had has ended; right before its sink's OnComplete. `now` is the
  // engine's clock. What its client is told may differ: see RequestCounter in rpc/.
  virtual void OnRequestDone(const EngineRequest& request, const Completion& completion,
                             absl::Time now) = 0;

  // The slot and blocks of a request that was cancelled are free, this long after the engine heard
  // of it.
  virtual void OnCancelFreed(absl::Duration elapsed) = 0;

  // A running request lost its slot and blocks to another, when `num_tokens_lost` positions had
  // been run.
  virtual void OnPreempted([[maybe_unused]] const std::string& request_id,
                           [[maybe_unused]] int32_t num_tokens_lost) {}
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_ENGINE_OBSERVER_H_
