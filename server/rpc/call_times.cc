#include "server/rpc/call_times.h"

#include <chrono>

#include "absl/time/clock.h"

namespace lockstep::server {

CallTimes TimesOf(const grpc::CallbackServerContext& context) {
  CallTimes times;
  times.arrival = absl::Now();
  const auto deadline = context.deadline();
  // gRPC gives the largest time point where the client set no deadline.
  if (deadline != std::chrono::system_clock::time_point::max())
    times.deadline = absl::FromChrono(deadline);
  return times;
}

}  // namespace lockstep::server
