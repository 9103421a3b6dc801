// Where the engine speaks to: one sink per request.
#ifndef LOCKSTEP_SERVER_ENGINE_OUTPUT_SINK_H_
#define LOCKSTEP_SERVER_ENGINE_OUTPUT_SINK_H_

#include <cstdint>
#include <vector>

#include "lockstep/worker/v1/control_link.pb.h"
#include "server/scheduler/event.h"  // IWYU pragma: export
#include "server/worker_pool/step_result.h"

namespace lockstep::server {

// All calls come from the engine's thread, in the order below, and must not block: an
// implementation hands over to other threads. The engine holds the sink until OnComplete has
// returned.
class OutputSink {
 public:
  virtual ~OutputSink() = default;

  // Once, when the request is first part of a step.
  virtual void OnScheduled(int32_t num_cached_tokens) = 0;

  // Tokens of the prompt with their log probabilities, for a request with num_prompt_logprobs: from
  // the second on, in order of position, all of them before the first OnToken.
  virtual void OnPromptTokens(std::vector<worker::v1::SampledToken>) {}

  // One token of the answer, the one that ends it included.
  virtual void OnToken(const TokenEvent& token) = 0;

  // Rows of logits of a request that asked for them, in order of position.
  virtual void OnLogits(SlotLogits logits) = 0;

  // Once, last: nothing follows.
  virtual void OnComplete(const Completion& completion) = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_OUTPUT_SINK_H_
