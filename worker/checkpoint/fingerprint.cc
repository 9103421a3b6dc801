#include "worker/checkpoint/fingerprint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

namespace lockstep::worker {
namespace {

// Of each tensor, at two places: fine-tuning changes some weight among this many.
constexpr size_t kSampleBytes = 4096;

class Hash {
 public:
  void Add(uint64_t value) {
    // The end of SplitMix64 (Steele, Lea and Flood 2014), on eight bytes at a time.
    uint64_t x = state_ + 0x9E3779B97F4A7C15 + value;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    state_ = x ^ (x >> 31);
  }

  // The length is part of the hash.
  void AddBytes(std::span<const std::byte> bytes) {
    Add(bytes.size());
    while (!bytes.empty()) {
      uint64_t word = 0;
      const size_t size = std::min(bytes.size(), sizeof(word));
      std::memcpy(&word, bytes.data(), size);
      Add(word);
      bytes = bytes.subspan(size);
    }
  }
  void AddText(const std::string& text) { AddBytes(std::as_bytes(std::span(text))); }

  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0;
};

// The beginning and a part from the middle; a small tensor whole.
std::array<std::span<const std::byte>, 2> Samples(const StoredTensor& tensor) {
  const std::span<const std::byte> data(tensor.data, tensor.num_bytes);
  if (data.size() <= 2 * kSampleBytes) return {data, data.first(0)};
  return {data.first(kSampleBytes), data.subspan(data.size() / 2, kSampleBytes)};
}

// So that a disk reads all samples at once, not one after the other as they are waited for.
void ReadAhead(std::span<const std::byte> bytes) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size());
  // Advice: where it fails, the bytes are read when they are looked at.
  madvise(reinterpret_cast<void*>(first), end - first, MADV_WILLNEED);
}

void AddTensor(const StoredTensor& tensor, Hash& hash) {
  hash.AddText(tensor.dtype);
  hash.Add(tensor.shape.size());
  for (const int64_t dimension : tensor.shape) hash.Add(static_cast<uint64_t>(dimension));
  for (const std::span<const std::byte> sample : Samples(tensor)) hash.AddBytes(sample);
}

}  // namespace

uint64_t Fingerprint(const std::filesystem::path& model_dir, const LlamaConfig& config,
                     const Checkpoint& checkpoint) {
  Hash hash;
  std::ifstream file(model_dir / "config.json", std::ios::binary);
  hash.AddText(std::string((std::istreambuf_iterator<char>(file)), {}));
  const std::vector<ExpectedTensor> tensors = ExpectedTensors(config);
  for (const ExpectedTensor& expected : tensors) {
    for (const auto sample : Samples(checkpoint.tensor(expected.name))) ReadAhead(sample);
  }
  for (const ExpectedTensor& expected : tensors) {
    hash.AddText(expected.name);
    AddTensor(checkpoint.tensor(expected.name), hash);
  }
  return std::max(hash.value(), uint64_t{1});
}

}  // namespace lockstep::worker
