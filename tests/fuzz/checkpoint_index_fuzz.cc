// model.safetensors.index.json.
#include <cstdlib>
#include <string_view>

#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temporary_directory.h"
#include "worker/checkpoint/checkpoint_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lockstep::testing::TemporaryDirectory directory;
  directory.Write("index.json", {reinterpret_cast<const char*>(data), size});
  const auto files = lockstep::worker::ReadCheckpointIndex(directory.path() / "index.json");
  if (!files.ok()) return 0;
  for (const auto& [tensor, file] : *files) {
    // No file outside of the checkpoint's directory.
    if (file.find('/') != std::string::npos || file == "..") std::abort();
  }
  return 0;
}
