// The guided requests that are alive: their ways through their guides, and the masks that steps
// wait for.
#ifndef LOCKSTEP_SERVER_ENGINE_GUIDED_REQUESTS_H_
#define LOCKSTEP_SERVER_ENGINE_GUIDED_REQUESTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/engine/guided_answer.h"
#include "server/engine/mask_board.h"
#include "server/scheduler/event.h"
#include "server/scheduler/request.h"
#include "server/sync/executor.h"

namespace lockstep::server {

// Belongs to the engine's thread, but for `on_step`, which is called from others.
class GuidedRequests {
 public:
  struct Options {
    // The model's, and so a mask's.
    int32_t vocab_size = 0;
    // That compute masks.
    int num_threads = 1;
    // How long the workers wait for a mask, at the very most, before the request that is late makes
    // way. As long as a small model's step: a wait of this kind costs every stream as much.
    absl::Duration patience = absl::Milliseconds(10);
  };

  GuidedRequests(const Options& options, std::function<void(GuideStep)> on_step);

  // A request that the scheduler has taken; does nothing for one without a guide.
  void Add(RequestHandle handle, const EngineRequest& request);
  // Tokens go into their guides, ended requests are forgotten.
  void Take(const std::vector<Event>& events);
  // The request has ended.
  void Remove(RequestHandle handle);
  void AddRows(const std::vector<GuidedRow>& rows);
  // What `on_step` was told, where it has a mask.
  void Take(GuideStep step);

  // Masks that are to go to the workers now.
  std::vector<worker::v1::TokenMasks> TakeReady() { return board_.TakeReady(); }

  // Requests whose mask the step after `last_step`, which the workers have finished, has lacked for
  // too long; their rows are given up.
  std::vector<RequestHandle> TakeLate(uint64_t last_step, absl::Time now);
  // When TakeLate has something to do next, if nothing else happens; InfiniteFuture: never.
  absl::Time NextDeadline() const { return deadline_; }

 private:
  const Options options_;
  const std::function<void(GuideStep)> on_step_;
  Executor executor_;  // its tasks use on_step_
  absl::flat_hash_map<RequestHandle, std::shared_ptr<GuidedAnswer>> answers_;
  MaskBoard board_;
  // The step that deadline_ is about.
  std::optional<uint64_t> due_step_;
  absl::Time deadline_ = absl::InfiniteFuture();
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_GUIDED_REQUESTS_H_
