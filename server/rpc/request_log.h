// One structured line for every request that ended.
#ifndef LOCKSTEP_SERVER_RPC_REQUEST_LOG_H_
#define LOCKSTEP_SERVER_RPC_REQUEST_LOG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/v1/generate.pb.h"
#include "server/scheduler/completion.h"

namespace lockstep::server {

// What a request was and what became of it. Holds no text of prompt or answer.
struct RequestRecord {
  const char* method = "";  // Generate, GenerateStream, Forward
  // Empty: refused before it had one.
  std::string request_id;
  absl::Status status;
  v1::FinishReason reason = v1::FINISH_REASON_UNSPECIFIED;
  int64_t num_prompt_tokens = 0;
  int64_t num_completion_tokens = 0;
  int64_t num_cached_tokens = 0;
  v1::Timing timing;
};

// The phases of a request's life: those that it did not reach are left out.
v1::Timing ToTiming(const Completion& completion, absl::Time arrival, absl::Time now);

// As JSON, on one line.
std::string ToJsonLine(const RequestRecord& record);

// A line about a running request that lost its slot and blocks: "event" is "preempted", and
// "lost_tokens" the positions that have to be run again.
void LogPreemption(const std::string& request_id, int32_t num_tokens_lost);

// Writes it to the log: our own faults as errors, everything else as information.
void LogRequest(const RequestRecord& record);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_REQUEST_LOG_H_
