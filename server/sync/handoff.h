// An order that a library makes, where ThreadSanitizer can see it.
#ifndef LOCKSTEP_SERVER_SYNC_HANDOFF_H_
#define LOCKSTEP_SERVER_SYNC_HANDOFF_H_

#include <atomic>
#include <cstdint>

namespace lockstep::server {

// gRPC calls back after what it was asked for, but its own locks are not instrumented, so that
// everything before looks like a race with everything after. Whoever hands an object to the library
// calls Give first, and the callback calls Take first. Orders nothing that the library does not;
// costs one atomic operation. Thread-safe.
class Handoff {
 public:
  void Give() { count_.fetch_add(1, std::memory_order_release); }
  void Take() const { (void)count_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint32_t> count_{0};
};

// One step of the library's, from a callback's begin to its end, behind which the object may be
// destroyed by another of its threads.
class HandoffScope {
 public:
  explicit HandoffScope(Handoff& handoff) : handoff_(handoff) { handoff.Take(); }
  HandoffScope(const HandoffScope&) = delete;
  HandoffScope& operator=(const HandoffScope&) = delete;
  ~HandoffScope() { handoff_.Give(); }

 private:
  Handoff& handoff_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SYNC_HANDOFF_H_
