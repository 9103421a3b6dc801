// A .safetensors file: as a whole, and its header alone with the length that a whole file would
// have to get right first.
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temporary_directory.h"
#include "worker/checkpoint/safetensors_file.h"
#include "worker/checkpoint/safetensors_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lockstep::testing::TemporaryDirectory directory;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)lockstep::worker::ParseSafetensorsHeader(bytes, 12, "model.safetensors");
  directory.Write("model.safetensors", bytes);
  const auto file = lockstep::worker::SafetensorsFile::Open(directory.path() / "model.safetensors");
  if (!file.ok()) return 0;
  // Every byte that a tensor is said to have can be read.
  unsigned sum = 0;
  for (const auto& [name, tensor] : (*file)->tensors()) {
    for (uint64_t i = 0; i < tensor.num_bytes; ++i)
      sum += std::to_integer<unsigned>(tensor.data[i]);
  }
  volatile unsigned result = sum;
  (void)result;
  return 0;
}
