// How long a request that joins the queue now will wait in it, from what the queue did lately.
#ifndef LOCKSTEP_SERVER_ENGINE_QUEUE_DELAY_H_
#define LOCKSTEP_SERVER_ENGINE_QUEUE_DELAY_H_

#include <cstddef>
#include <optional>

#include "absl/time/time.h"

namespace lockstep::server {

// Measures the time between two requests that leave the queue for a step, while there is a queue.
class QueueDelay {
 public:
  // A request has left the queue, and `num_waiting` stay.
  void OnScheduled(absl::Time now, size_t num_waiting);

  // Until `num_waiting` requests have left the queue. A wait that has already lasted longer than
  // usual counts as it is. Nothing if no two requests have left a queue yet.
  std::optional<absl::Duration> Estimate(absl::Time now, size_t num_waiting) const;

 private:
  // The last one that left others behind.
  std::optional<absl::Time> last_;
  int num_intervals_ = 0;
  // Moving average; the last 32 or so count.
  absl::Duration interval_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_ENGINE_QUEUE_DELAY_H_
