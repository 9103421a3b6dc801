#ifndef LOCKSTEP_WORKER_COMM_FUTEX_H_
#define LOCKSTEP_WORKER_COMM_FUTEX_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace lockstep::worker {

// Linux futexes on a word in memory that processes share (futex(2)).

// Sleeps while `word` is `expected`, at most `timeout`; may return early.
void FutexWait(std::atomic<uint32_t>& word, uint32_t expected, absl::Duration timeout);

// Wakes all that sleep on `word`.
void FutexWakeAll(std::atomic<uint32_t>& word);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_FUTEX_H_
