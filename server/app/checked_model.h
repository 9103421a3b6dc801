// The model directory, checked at the door: before a port opens or a worker starts.
#ifndef LOCKSTEP_SERVER_APP_CHECKED_MODEL_H_
#define LOCKSTEP_SERVER_APP_CHECKED_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/server_options.h"
#include "worker/checkpoint/llama_config.h"

namespace lockstep::server {

struct CheckedModel {
  worker::LlamaConfig config;
  std::string dtype;  // that it is computed in: float32, bfloat16 or float16
  int32_t max_model_len = 0;
  int64_t num_weight_bytes = 0;       // as stored
  uint64_t fingerprint = 0;           // of the checkpoint; every rank has to find the same
  std::vector<std::string> warnings;  // what config.json says and is not done
  std::vector<std::string> notes;     // what was decided where the files leave a choice
};

// Reads config.json and the headers of the weights, and compares both with the options; takes
// milliseconds whatever the model's size, but where a tied head is stored beside an equal
// embedding: both are read. Errors name the file, the field or tensor, the value and what is
// allowed.
absl::StatusOr<CheckedModel> CheckModel(const ServerOptions& options);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_CHECKED_MODEL_H_
