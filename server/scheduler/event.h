// What the scheduler tells the engine, for it to deliver.
#ifndef LOCKSTEP_SERVER_SCHEDULER_EVENT_H_
#define LOCKSTEP_SERVER_SCHEDULER_EVENT_H_

#include <cstdint>
#include <variant>
#include <vector>

#include "lockstep/worker/v1/control_link.pb.h"
#include "server/scheduler/completion.h"
#include "server/scheduler/request.h"
#include "server/worker_pool/step_result.h"

namespace lockstep::server {

// The request is part of a step for the first time.
struct ScheduledEvent {
  int32_t num_cached_tokens = 0;
};

// A token of the answer.
struct TokenEvent {
  worker::v1::SampledToken token;
  // It is an end token (EOS, stop token): the answer's last, and no part of its text.
  bool ends_answer = false;
};

// The request lost its slot and blocks, and waits again.
struct PreemptedEvent {
  // Positions that had been run; those that the prefix cache keeps need not be run again.
  int32_t num_tokens_lost = 0;
};

// Tokens of the prompt with their log probabilities, in order of position; none twice.
struct PromptTokensEvent {
  std::vector<worker::v1::SampledToken> tokens;
};

// A row whose token is chosen under a mask that the frontend sends while the step is in flight.
struct GuidedRow {
  uint64_t step = 0;
  RequestHandle handle = 0;
  uint32_t slot = 0;
  int32_t position = 0;  // of the token
};

// For one request, in this order: ScheduledEvent once; prompt tokens; tokens or logits, with
// preemptions anywhere between; Completion once, last.
struct Event {
  RequestHandle handle = 0;
  std::variant<ScheduledEvent, TokenEvent, SlotLogits, PromptTokensEvent, PreemptedEvent,
               Completion>
      what;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_EVENT_H_
