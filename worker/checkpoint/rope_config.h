#ifndef LOCKSTEP_WORKER_CHECKPOINT_ROPE_CONFIG_H_
#define LOCKSTEP_WORKER_CHECKPOINT_ROPE_CONFIG_H_

#include <cstdint>
#include <string_view>

#include "worker/checkpoint/json_fields.h"
#include "worker/checkpoint/llama_config.h"

namespace lockstep::worker {

// The longest context that a config.json may speak of: far beyond any published model, and products
// of sizes stay within 64 bits.
inline constexpr int64_t kMaxPositions = int64_t{1} << 30;

// Reads the RoPE parameters from a config.json in either spelling: `rope_scaling` with `rope_theta`
// beside it, or transformers 5's `rope_parameters` with everything inside. Errors are recorded in
// `config`.
RopeParameters ReadRopeParameters(JsonFields& config, const std::string& source,
                                  int64_t max_position_embeddings, int64_t head_dim);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_ROPE_CONFIG_H_
