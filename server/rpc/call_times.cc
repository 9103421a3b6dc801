#include "server/rpc/call_times.h"

#include <grpc/support/time.h>

#include <chrono>

#include "absl/time/clock.h"
#include "process/monotonic_time.h"

namespace lockstep::server {

CallTimes TimesOf(const grpc::CallbackServerContext& context) {
  CallTimes times;
  times.arrival = MonotonicNow();
  // Not its time point: one of some hundred years is none any more.
  const gpr_timespec deadline = gpr_convert_clock_type(context.raw_deadline(), GPR_CLOCK_REALTIME);
  if (gpr_time_cmp(deadline, gpr_inf_future(GPR_CLOCK_REALTIME)) < 0) {
    const absl::Time at =
        absl::FromUnixSeconds(deadline.tv_sec) + absl::Nanoseconds(deadline.tv_nsec);
    times.deadline = times.arrival + (at - absl::Now());
  }
  return times;
}

std::chrono::system_clock::time_point ToWallClock(absl::Time time) {
  return absl::ToChronoTime(absl::Now() + (time - MonotonicNow()));
}

}  // namespace lockstep::server
