#include "server/rpc/service_context.h"

#include <utility>

#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kQueueRetryDelay = absl::Seconds(1);

}  // namespace

absl::Status WithRetryIfUseful(const ServiceContext& context, absl::Status status,
                               int64_t num_prompt_tokens) {
  if (!absl::IsResourceExhausted(status)) return status;
  const auto capacity =
      static_cast<int64_t>(context.engine.Snapshot().kv_blocks_total) * context.block_size;
  // 0: the workers are not ready, and nobody knows yet.
  if (capacity > 0 && num_prompt_tokens > capacity) return status;
  return WithRetryDelay(std::move(status), kQueueRetryDelay);
}

}  // namespace lockstep::server
