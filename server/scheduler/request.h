// A request as the engine takes it: validated, tokenized, every default resolved. Immutable once
// submitted.
#ifndef LOCKSTEP_SERVER_SCHEDULER_REQUEST_H_
#define LOCKSTEP_SERVER_SCHEDULER_REQUEST_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "lockstep/worker/v1/control_link.pb.h"

namespace lockstep::server {

class Guide;

// A request's number within this process; never reused.
using RequestHandle = uint64_t;

struct EngineRequest {
  // From the client or made by admission. Unique among the requests that are alive, except that the
  // requests of one batch (Engine::SubmitBatch) may share one.
  std::string id;
  // [num_prompt_tokens], 1 to max_model_len of them, each in [0, vocab_size).
  std::vector<int32_t> prompt;
  // What the workers need to choose tokens; num_prompt_tokens and end_token_ids are filled by
  // admission.
  worker::v1::Sampling sampling;
  // Other than LOGITS_NONE: nothing is sampled, and the request ends (reason LENGTH) when its
  // prompt has run.
  worker::v1::LogitsRequest logits = worker::v1::LOGITS_NONE;

  // Report the log probability of each prompt token but the first, with this many alternatives.
  std::optional<uint32_t> num_prompt_logprobs;

  // The answer ends at this many tokens: 1 to max_model_len - num_prompt_tokens, where there is
  // one.
  int32_t max_new_tokens = 0;
  // No end token ends the answer before this many.
  int32_t min_new_tokens = 0;
  // End the answer with reason EOS; empty when the request ignores them.
  std::vector<int32_t> eos_token_ids;
  // End the answer with reason STOP_TOKEN.
  std::vector<int32_t> stop_token_ids;

  // The answer follows it, and ends (reason EOS) where nothing may follow; null: none.
  std::shared_ptr<const Guide> guide;

  // Neither read nor fill the prefix cache.
  bool cache_bypass = false;
  // Only requests with the same salt share cached blocks.
  std::string cache_salt;
  // Other than 0: requests of one group have the same prompt, and share its blocks even when the
  // cache is bypassed. Unique to the call that makes them.
  uint64_t prompt_group = 0;

  int32_t priority = 0;  // higher first
  absl::Time arrival;
  // The client's gRPC deadline; InfiniteFuture if none.
  absl::Time deadline = absl::InfiniteFuture();
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_REQUEST_H_
