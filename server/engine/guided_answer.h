// One guided answer's way through its guide, off the engine's thread.
#ifndef LOCKSTEP_SERVER_ENGINE_GUIDED_ANSWER_H_
#define LOCKSTEP_SERVER_ENGINE_GUIDED_ANSWER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/scheduler/request.h"
#include "server/sync/executor.h"
#include "server/text/guide.h"

namespace lockstep::server {

// The payload, empty, of an INVALID_ARGUMENT that is about a request's guide, of which its text
// then speaks.
inline constexpr absl::string_view kGuideErrorUrl = "lockstep.guide";

// What may come next in a guided answer.
struct GuideStep {
  RequestHandle handle = 0;
  // The guide cannot go on, and the request fails with this.
  absl::Status status;
  // Nothing may follow: the answer ends.
  bool complete = false;
  int32_t position = 0;  // of the token that `mask` is for
  std::string mask;      // as SlotMask.allowed
};

// Masks are computed on a strand of `executor`, in the order of the calls. Shared, because tasks
// under way hold it.
class GuidedAnswer : public std::enable_shared_from_this<GuidedAnswer> {
 public:
  // `on_step` is called from the executor's threads, once for each call of Begin and Accept. Like
  // the executor, it must outlive the last task.
  GuidedAnswer(RequestHandle handle, std::shared_ptr<const Guide> guide, int32_t vocab_size,
               Executor& executor, const std::function<void(GuideStep)>& on_step);

  // The first token is at `position`.
  void Begin(int32_t position);
  // `token` has been chosen; the next one is at `position`.
  void Accept(int32_t token, int32_t position);
  // The request has ended: what waits is dropped.
  void Cancel() { cancelled_ = true; }

 private:
  void Post(std::optional<int32_t> token, int32_t position);
  // On the strand.
  absl::Status Advance(std::optional<int32_t> token, GuideStep& step);
  absl::Status ComputeMask(std::string& mask);

  const RequestHandle handle_;
  const std::shared_ptr<const Guide> guide_;
  const int32_t vocab_size_;
  Strand strand_;
  const std::function<void(GuideStep)>& on_step_;
  std::atomic<bool> cancelled_ = false;
  std::optional<GuideState> state_;  // the strand's
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_GUIDED_ANSWER_H_
