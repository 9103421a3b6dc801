// The threads that admit requests: parsing, templates, tokenizing. An amount of work that clients
// choose, and that may wait.
#ifndef LOCKSTEP_SERVER_RPC_INTAKE_H_
#define LOCKSTEP_SERVER_RPC_INTAKE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "server/sync/byte_budget.h"
#include "server/sync/executor.h"

namespace lockstep::server {

// Long requests have threads of their own, so that a few of them do not hold up short ones.
class Intake {
 public:
  // Bytes of all requests that wait to be taken in, or are: clients choose how many come at once,
  // and how large they are.
  static constexpr uint64_t kMaxBytes = uint64_t{512} << 20;
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

// Of the budget of requests that are taken in; before anything is done for one, and held until it
// has been. RESOURCE_EXHAUSTED with a retry delay where there is no room.
absl::StatusOr<ByteBudget::Lease> ReserveRequest(ByteBudget& budget, std::size_t num_bytes);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_INTAKE_H_
