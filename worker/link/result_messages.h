// A step's result as it goes over the link.
#ifndef LOCKSTEP_WORKER_LINK_RESULT_MESSAGES_H_
#define LOCKSTEP_WORKER_LINK_RESULT_MESSAGES_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <vector>

#include "worker/runtime/step_plan.h"

namespace lockstep::worker {

// One WorkerMessage, or several where the logits would make one larger than `max_part_bytes`; each
// part holds at least one row. The logits are not copied: the messages share their memory and free
// it.
std::vector<grpc::ByteBuffer> EncodeResult(StepResult result, size_t max_part_bytes);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_LINK_RESULT_MESSAGES_H_
