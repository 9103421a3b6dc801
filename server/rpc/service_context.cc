#include "server/rpc/service_context.h"

#include <algorithm>
#include <utility>

#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

// While nothing is known of how fast the queue moves.
constexpr absl::Duration kQueueRetryDelay = absl::Seconds(1);
constexpr absl::Duration kMinRetryDelay = absl::Milliseconds(100);
constexpr absl::Duration kMaxRetryDelay = absl::Minutes(1);

// Until half of the queue is done: late enough for places to be free, and early enough for the
// queue not to run empty if everybody waits as told.
absl::Duration QueueRetryDelay(const EngineSnapshot& snapshot) {
  if (!snapshot.queue_delay.has_value()) return kQueueRetryDelay;
  return std::clamp(*snapshot.queue_delay / 2, kMinRetryDelay, kMaxRetryDelay);
}

}  // namespace

absl::Status WithRetryIfUseful(const ServiceContext& context, absl::Status status) {
  if (!absl::IsResourceExhausted(status)) return status;
  return WithRetryDelay(std::move(status), QueueRetryDelay(context.engine.Snapshot()));
}

}  // namespace lockstep::server
