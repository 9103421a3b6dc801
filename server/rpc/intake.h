// The threads that admit requests: parsing, templates, tokenizing. An amount of work that clients
// choose, and that may wait.
#ifndef LOCKSTEP_SERVER_RPC_INTAKE_H_
#define LOCKSTEP_SERVER_RPC_INTAKE_H_

#include <algorithm>
#include <cstddef>

#include "server/sync/executor.h"

namespace lockstep::server {

// Long requests have threads of their own, so that a few of them do not hold up short ones.
class Intake {
 public:
  // Bytes. One request beyond it takes some ten milliseconds to tokenize.
  static constexpr std::size_t kMaxShort = std::size_t{64} << 10;

  explicit Intake(int num_threads)
      : for_short_(num_threads), for_long_(std::max(1, num_threads / 2)) {}

  // Where a request of this size is admitted.
  Executor& For(std::size_t num_bytes) { return num_bytes <= kMaxShort ? for_short_ : for_long_; }

 private:
  Executor for_short_;
  Executor for_long_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_INTAKE_H_
