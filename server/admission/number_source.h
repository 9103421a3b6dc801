// Numbers that nobody can foresee, for seeds and request ids.
#ifndef LOCKSTEP_SERVER_ADMISSION_NUMBER_SOURCE_H_
#define LOCKSTEP_SERVER_ADMISSION_NUMBER_SOURCE_H_

#include <atomic>
#include <cstdint>

namespace lockstep::server {

// A sequence without repetition over the life of the process. Thread-safe, lock-free. Not for
// cryptography.
class NumberSource {
 public:
  // Starts anywhere (from the system's random device).
  NumberSource();
  // Starts there: for tests.
  explicit NumberSource(uint64_t start) : next_(start) {}

  uint64_t Next();

 private:
  std::atomic<uint64_t> next_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ADMISSION_NUMBER_SOURCE_H_
