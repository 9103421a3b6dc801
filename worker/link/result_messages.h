// A step's result as it goes over the link.
#ifndef LOCKSTEP_WORKER_LINK_RESULT_MESSAGES_H_
#define LOCKSTEP_WORKER_LINK_RESULT_MESSAGES_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

struct ResultLimits {
  // Of one SlotLogits message. Not in bytes: the shards of all ranks are cut at the same rows.
  uint32_t max_rows = 64;
  // The frontend parses one WorkerMessage while the next is on its way, and holds what it parses
  // twice. One with a single SlotLogits may be larger.
  size_t max_part_bytes = size_t{32} << 20;
};

// One WorkerMessage, or several where the logits would make one larger. The logits are not copied:
// the messages share their memory and free it. Where it is in a file that the frontend reads, they
// only say where.
std::vector<grpc::ByteBuffer> EncodeResult(StepResult result, const ResultLimits& limits = {});

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_RESULT_MESSAGES_H_
