#include "tests/testing/wall_clock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace {

std::atomic<int64_t> wall_clock_offset_ns{0};

}  // namespace

// Takes the place of libc's, which all clocks of C++ and Abseil call.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, time);
  const bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && is_wall) {
    *time = absl::ToTimespec(absl::DurationFromTimespec(*time) +
                             absl::Nanoseconds(wall_clock_offset_ns.load()));
  }
  return static_cast<int>(result);
}

namespace lockstep::testing {

void StepWallClock(absl::Duration step) { wall_clock_offset_ns += absl::ToInt64Nanoseconds(step); }

}  // namespace lockstep::testing
