#include "tests/testing/random_checkpoint.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/testing/placeholder_tokenizer.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr int64_t kChunkElements = 1 << 15;  // 128 KiB of float32: stays in the second-level cache

const char* SafetensorsName(StorageType storage) {
  switch (storage) {
    case StorageType::kFloat32:
      return "F32";
    case StorageType::kFloat16:
      return "F16";
    case StorageType::kBfloat16:
      return "BF16";
  }
  return "";
}

absl::Status WriteText(const fs::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path.string()));
  return absl::OkStatus();
}

// Of one thread.
struct Buffers {
  std::vector<float> values = std::vector<float>(kChunkElements);
  std::vector<uint16_t> rounded = std::vector<uint16_t>(kChunkElements);
};

// A file's name and the tensors in it.
using Shard = std::pair<std::string, std::vector<RandomTensor>>;

class CheckpointWriter {
 public:
  CheckpointWriter(fs::path directory, const RandomCheckpointOptions& options,
                   std::vector<RandomTensor> tensors)
      : directory_(std::move(directory)), options_(options), tensors_(std::move(tensors)) {
    for (const RandomTensor& tensor : tensors_) bytes_total_ += NumBytes(tensor);
  }

  absl::Status Write() {
    const std::vector<Shard> shards = Split();
    // Values follow from the tensor's name and their place, so that shards can be written at once.
    std::vector<absl::Status> statuses(shards.size());
    std::atomic<size_t> next = 0;
    const auto write = [&] {
      for (size_t i = next++; i < shards.size(); i = next++) statuses[i] = WriteShard(shards[i]);
    };
    {
      std::vector<std::jthread> threads(
          std::min<size_t>(shards.size(), std::max(1U, std::thread::hardware_concurrency())));
      for (std::jthread& thread : threads) thread = std::jthread(write);
    }
    for (const absl::Status& status : statuses) {
      if (!status.ok()) return status;
    }
    return shards.size() > 1 ? WriteIndex(shards) : absl::OkStatus();
  }

 private:
  int64_t NumBytes(const RandomTensor& tensor) const {
    return tensor.num_elements() * BytesPerElement(options_.storage);
  }

  // Whole tensors, in order, in shards of about equal size, none of them empty.
  std::vector<Shard> Split() const {
    const int num_shards = options_.num_shards;
    if (num_shards == 1) return {{"model.safetensors", tensors_}};
    std::vector<Shard> shards;
    int64_t bytes = 0;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const int index = static_cast<int>(shards.size());
      const bool is_full = index > 0 && bytes >= bytes_total_ * index / num_shards;
      const bool must_open = static_cast<int>(tensors_.size() - i) == num_shards - index;
      if (index == 0 || (index < num_shards && (is_full || must_open))) {
        shards.push_back(
            {absl::StrFormat("model-%05d-of-%05d.safetensors", index + 1, num_shards), {}});
      }
      shards.back().second.push_back(tensors_[i]);
      bytes += NumBytes(tensors_[i]);
    }
    return shards;
  }

  absl::Status WriteShard(const Shard& shard) {
    const fs::path path = directory_ / shard.first;
    std::ofstream file(path, std::ios::binary);
    const std::string header = Header(shard.second);
    const uint64_t header_size =
        header.size();  // little-endian in the file, as on every machine that we build for
    file.write(reinterpret_cast<const char*>(&header_size), sizeof(header_size));
    file.write(header.data(), static_cast<std::streamsize>(header.size()));
    Buffers buffers;
    for (const RandomTensor& tensor : shard.second) {
      WriteTensor(tensor, buffers, file);
      if (!file) break;
    }
    if (!file.flush())
      return absl::UnavailableError(
          absl::StrCat("cannot write ", path.string(), ": is the disk full?"));
    return absl::OkStatus();
  }

  std::string Header(const std::vector<RandomTensor>& tensors) const {
    OrderedJson header = {{"__metadata__", {{"format", "pt"}}}};
    int64_t end = 0;
    for (const RandomTensor& tensor : tensors) {
      const int64_t begin = std::exchange(end, end + NumBytes(tensor));
      header[tensor.name] = {{"dtype", SafetensorsName(options_.storage)},
                             {"shape", tensor.shape},
                             {"data_offsets", {begin, end}}};
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // the data starts aligned
    return text;
  }

  void WriteTensor(const RandomTensor& tensor, Buffers& buffers, std::ofstream& file) {
    const int64_t count = tensor.num_elements();
    for (int64_t first = 0; first < count && file; first += kChunkElements) {
      const size_t size = static_cast<size_t>(std::min(kChunkElements, count - first));
      const std::span<float> values(buffers.values.data(), size);
      FillRandomValues(tensor, options_.seed, first, values);
      WriteValues(values, buffers, file);
      Report(static_cast<int64_t>(size) * BytesPerElement(options_.storage));
    }
  }

  void Report(int64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    bytes_written_ += bytes;
    if (options_.progress) options_.progress(bytes_written_, bytes_total_);
  }

  void WriteValues(std::span<const float> values, Buffers& buffers, std::ofstream& file) const {
    if (options_.storage == StorageType::kFloat32) {
      file.write(reinterpret_cast<const char*>(values.data()),
                 static_cast<std::streamsize>(values.size_bytes()));
      return;
    }
    if (options_.storage == StorageType::kFloat16) {
      std::transform(values.begin(), values.end(), buffers.rounded.begin(), ToFloat16Bits);
    } else {
      std::transform(values.begin(), values.end(), buffers.rounded.begin(), ToBfloat16Bits);
    }
    file.write(reinterpret_cast<const char*>(buffers.rounded.data()),
               static_cast<std::streamsize>(values.size() * 2));
  }

  absl::Status WriteIndex(const std::vector<Shard>& shards) const {
    OrderedJson index = {{"metadata", {{"total_size", bytes_total_}}},
                         {"weight_map", OrderedJson::object()}};
    for (const auto& [name, tensors] : shards) {
      for (const RandomTensor& tensor : tensors) index["weight_map"][tensor.name] = name;
    }
    return WriteText(directory_ / "model.safetensors.index.json", index.dump(1));
  }

  const fs::path directory_;
  const RandomCheckpointOptions& options_;
  const std::vector<RandomTensor> tensors_;
  int64_t bytes_total_ = 0;
  std::mutex mutex_;  // which ThreadSanitizer understands, unlike the system's absl::Mutex
  int64_t bytes_written_ = 0;
};

}  // namespace

absl::Status WriteRandomCheckpoint(const fs::path& directory,
                                   const RandomCheckpointOptions& options) {
  absl::StatusOr<std::vector<RandomTensor>> tensors =
      LlamaTensors(options.config_json, options.tied_head);
  if (!tensors.ok()) return tensors.status();
  const int num_tensors = static_cast<int>(tensors->size());
  if (options.num_shards < 1 || options.num_shards > num_tensors) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d shards asked for; the model has %d tensors to divide",
                        options.num_shards, num_tensors));
  }
  std::error_code error;
  fs::create_directories(directory, error);
  if (error)
    return absl::UnavailableError(
        absl::StrCat("cannot create ", directory.string(), ": ", error.message()));

  if (absl::Status status = WriteText(directory / "config.json", options.config_json); !status.ok())
    return status;
  if (options.with_tokenizer) {
    if (absl::Status status = WritePlaceholderTokenizer(directory, options.config_json);
        !status.ok())
      return status;
  }
  return CheckpointWriter(directory, options, *std::move(tensors)).Write();
}

}  // namespace lockstep::testing
