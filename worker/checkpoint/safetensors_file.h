#ifndef LOCKSTEP_WORKER_CHECKPOINT_SAFETENSORS_FILE_H_
#define LOCKSTEP_WORKER_CHECKPOINT_SAFETENSORS_FILE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep::worker {

// One tensor of a mapped file.
struct StoredTensor {
  std::string dtype;  // as in the file: "F32", "F16", "BF16", ...
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // row-major, little-endian; not necessarily aligned
  size_t num_bytes = 0;
};

// A safetensors file, mapped read-only. Opening reads and checks the header alone, so it takes
// well under a millisecond whatever the file's size. Thread-safe.
//
// The format: an 8-byte little-endian header length, a JSON header {name: {dtype, shape,
// data_offsets: [begin, end)}}, then the data, which the tensors cover without holes or overlaps
// (https://huggingface.co/docs/safetensors).
class SafetensorsFile {
 public:
  // NOT_FOUND: no such file. INVALID_ARGUMENT or DATA_LOSS, naming the file, the tensor and both
  // values: anything about it that breaks the format, a truncated file above all.
  static absl::StatusOr<std::unique_ptr<SafetensorsFile>> Open(const std::filesystem::path& path);

  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }

  // Tells the kernel that [begin, end) of the mapping will not be read again soon, so that it stops
  // counting as this process's memory. The data stays readable.
  void Release(const std::byte* begin, const std::byte* end) const;

 private:
  SafetensorsFile(std::filesystem::path path, const std::byte* mapping, size_t size);
  absl::Status ReadHeader();

  std::filesystem::path path_;
  const std::byte* mapping_;
  size_t size_;
  std::map<std::string, StoredTensor> tensors_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_SAFETENSORS_FILE_H_
