#include "worker/comm/poll.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "process/monotonic_time.h"

namespace lockstep::worker {
namespace {

constexpr absl::Duration kEagerTime = absl::Microseconds(200);
constexpr absl::Duration kFirstPause = absl::Microseconds(50);
constexpr absl::Duration kLongestPause = absl::Milliseconds(1);

}  // namespace

absl::Status PollUntil(absl::FunctionRef<absl::StatusOr<bool>()> is_done, absl::Duration timeout,
                       const std::string& what) {
  const absl::Time begin = MonotonicNow();
  absl::Duration pause = kFirstPause;
  while (true) {
    const absl::StatusOr<bool> done = is_done();
    if (!done.ok()) return done.status();
    if (*done) return absl::OkStatus();
    const absl::Duration waited = MonotonicNow() - begin;
    if (waited >= timeout) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, " has not happened within ", absl::FormatDuration(timeout)));
    }
    if (waited < kEagerTime) {
      std::this_thread::yield();
      continue;
    }
    absl::SleepFor(std::min(pause, timeout - waited));
    pause = std::min(2 * pause, kLongestPause);
  }
}

}  // namespace lockstep::worker
