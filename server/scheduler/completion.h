// How a request ended.
#ifndef LOCKSTEP_SERVER_SCHEDULER_COMPLETION_H_
#define LOCKSTEP_SERVER_SCHEDULER_COMPLETION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"

namespace lockstep::server {

struct StepTime {
  uint64_t step = 0;
  absl::Duration duration;  // on the workers
};

struct Completion {
  // Not OK: the request failed, and `reason` says nothing.
  absl::Status status;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  // With EOS and STOP_TOKEN.
  std::optional<int32_t> stop_token_id;

  int32_t num_completion_tokens = 0;
  int32_t num_cached_tokens = 0;
  // InfinitePast where the request never got so far.
  absl::Time first_scheduled = absl::InfinitePast();
  absl::Time first_token = absl::InfinitePast();
  absl::Time last_token = absl::InfinitePast();
  // For a request that wants logits: the steps that it was part of, in order.
  std::vector<StepTime> steps;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SCHEDULER_COMPLETION_H_
