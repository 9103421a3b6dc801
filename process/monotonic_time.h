#ifndef LOCKSTEP_PROCESS_MONOTONIC_TIME_H_
#define LOCKSTEP_PROCESS_MONOTONIC_TIME_H_

#include <chrono>

#include "absl/time/time.h"

namespace lockstep {

// For deadlines and ages: a clock that nobody sets, while the wall's may be set by hours at any
// time. Means nothing to people or other machines.
inline absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_MONOTONIC_TIME_H_
