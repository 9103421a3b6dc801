// A step's result as the frontend passes it on: Protobuf's message, but for the logits, which stay
// where they came to lie.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_STEP_RESULT_H_
#define LOCKSTEP_SERVER_WORKER_POOL_STEP_RESULT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lockstep/worker/v1/control_link.pb.h"

namespace lockstep::server {

// Some columns of some rows of logits. Copies share the memory.
struct LogitShard {
  absl::string_view bytes;            // little-endian float32, [num_rows, number of columns]
  std::shared_ptr<const void> owner;  // the bytes stay while somebody holds it
};

struct SlotLogits {
  uint32_t slot = 0;
  uint32_t position = 0;  // of the first row
  uint32_t num_rows = 0;
  std::vector<LogitShard> shards;  // side by side they are the rows
};

struct StepResult {
  worker::v1::StepResult fields;  // without logits
  std::vector<SlotLogits> logits;
};

// Finds logits that a message only names; an error says what is wrong with the name.
using OpenColumns = absl::FunctionRef<absl::StatusOr<LogitShard>(const worker::v1::SharedColumns&)>;

absl::StatusOr<StepResult> ReadStepResult(worker::v1::StepResult message, OpenColumns open);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_STEP_RESULT_H_
