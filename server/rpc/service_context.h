// What every call needs.
#ifndef LOCKSTEP_SERVER_RPC_SERVICE_CONTEXT_H_
#define LOCKSTEP_SERVER_RPC_SERVICE_CONTEXT_H_

#include <atomic>
#include <cstdint>

#include "server/admission/admission.h"
#include "server/admission/limits.h"
#include "server/engine/engine.h"
#include "server/rpc/guide_library.h"
#include "server/rpc/intake.h"
#include "server/rpc/request_counter.h"
#include "server/sync/byte_budget.h"
#include "server/sync/executor.h"
#include "server/text/text_model.h"

namespace lockstep::server {

// Borrowed; outlives every call.
struct ServiceContext {
  Engine& engine;
  const TextModel& text;
  Admission& admission;
  Intake& intake;
  // What running calls and their clients wait for: tokens, cancellation, what is asked of the
  // server's state.
  Executor& delivery;
  GuideLibrary& guides;
  RequestCounter& counter;
  // See ReserveRequest.
  ByteBudget request_bytes;
  // Generate, GenerateStream and Forward calls that came while the server was not draining, and
  // whose clients do not have everything yet.
  std::atomic<int64_t> num_open_calls{0};
  // No request is taken any more: see GrpcServer::Drain.
  std::atomic<bool> is_draining{false};
  // Of logits that Forward calls are collecting.
  ByteBudget forward_bytes{2 * limits::kForwardResponseBytes};
};

// Counts a call as open for as long as it lives. Those that come while the server drains are
// refused, and nothing waits for them: clients that try again would keep it for ever.
class OpenCall {
 public:
  explicit OpenCall(ServiceContext& context)
      : context_(context), is_counted_(!context.is_draining) {
    if (is_counted_) ++context_.num_open_calls;
  }
  ~OpenCall() {
    if (is_counted_) --context_.num_open_calls;
  }
  OpenCall(const OpenCall&) = delete;
  OpenCall& operator=(const OpenCall&) = delete;

 private:
  ServiceContext& context_;
  const bool is_counted_;
};

// Adds a retry delay to RESOURCE_EXHAUSTED, where retrying can help: a queue was full. The delay is
// what the engine's queue needs to become half as long, as fast as it moves now.
absl::Status WithRetryIfUseful(const ServiceContext& context, absl::Status status);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_SERVICE_CONTEXT_H_
