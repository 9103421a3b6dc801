#ifndef LOCKSTEP_WORKER_CHECKPOINT_SAFETENSORS_HEADER_H_
#define LOCKSTEP_WORKER_CHECKPOINT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::worker {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // of the data section
  uint64_t end = 0;
};

// Parses and checks a safetensors header. `data_size` is what the file has after the header;
// `source` names the file in errors. The entries come in the order of their data, which they cover
// completely and without overlaps.
absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(std::string_view json,
                                                                     uint64_t data_size,
                                                                     const std::string& source);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_SAFETENSORS_HEADER_H_
