#ifndef LOCKSTEP_SERVER_WORKER_POOL_MONOTONIC_TIME_H_
#define LOCKSTEP_SERVER_WORKER_POOL_MONOTONIC_TIME_H_

#include <chrono>

#include "absl/time/time.h"

namespace lockstep::server {

// For deadlines and ages: a clock that nobody sets. Means nothing to people or other machines.
inline absl::Time MonotonicNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_MONOTONIC_TIME_H_
