#include "server/rpc/call_times.h"

#include <chrono>

#include "absl/time/clock.h"
#include "process/monotonic_time.h"

namespace lockstep::server {

CallTimes TimesOf(const grpc::CallbackServerContext& context) {
  CallTimes times;
  times.arrival = MonotonicNow();
  const auto deadline = context.deadline();
  // gRPC gives the largest time point where the client set no deadline.
  if (deadline != std::chrono::system_clock::time_point::max())
    times.deadline = times.arrival + (absl::FromChrono(deadline) - absl::Now());
  return times;
}

std::chrono::system_clock::time_point ToWallClock(absl::Time time) {
  return absl::ToChronoTime(absl::Now() + (time - MonotonicNow()));
}

}  // namespace lockstep::server
