// Told how requests ended, for the metrics.
#ifndef LOCKSTEP_SERVER_RPC_REQUEST_COUNTER_H_
#define LOCKSTEP_SERVER_RPC_REQUEST_COUNTER_H_

#include "absl/status/status.h"
#include "lockstep/v1/generate.pb.h"

namespace lockstep::server {

// Generate, GenerateStream and Forward: what their clients and the log hear, before the client
// does. Thread-safe; no call may block.
class RequestCounter {
 public:
  virtual ~RequestCounter() = default;

  // An answer has ended as it should: once for each of a request's sequences; a Forward call once,
  // with LENGTH.
  virtual void CountSuccess(v1::FinishReason reason) = 0;

  // A call has failed, whatever it was refused for or ended by: once, however many sequences it
  // has.
  virtual void CountFailure(absl::StatusCode code) = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_REQUEST_COUNTER_H_
