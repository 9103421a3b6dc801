#ifndef LOCKSTEP_WORKER_CHECKPOINT_CHECKPOINT_INDEX_H_
#define LOCKSTEP_WORKER_CHECKPOINT_CHECKPOINT_INDEX_H_

#include <filesystem>
#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace lockstep::worker {

// Reads the weight_map of a model.safetensors.index.json: the file name of each tensor. The names
// are plain, without directories. INVALID_ARGUMENT, naming the file and what is wrong, otherwise.
absl::StatusOr<std::map<std::string, std::string>> ReadCheckpointIndex(
    const std::filesystem::path& path);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_CHECKPOINT_INDEX_H_
