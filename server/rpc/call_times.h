#ifndef LOCKSTEP_SERVER_RPC_CALL_TIMES_H_
#define LOCKSTEP_SERVER_RPC_CALL_TIMES_H_

#include <grpcpp/server_context.h>

#include <chrono>

#include "server/admission/admission.h"

namespace lockstep::server {

// Of a call that has just arrived, by MonotonicNow: gRPC says when its deadline is by the wall
// clock as it is now, which may be set while the call runs.
CallTimes TimesOf(const grpc::CallbackServerContext& context);

// What the wall clock shows at a time of MonotonicNow, unless it is set before: for gRPC's timers,
// which turn it back at once.
std::chrono::system_clock::time_point ToWallClock(absl::Time time);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_CALL_TIMES_H_
