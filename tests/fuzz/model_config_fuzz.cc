// config.json.
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz_target.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = lockstep::worker::ParseLlamaConfig(text, "config.json");
  // What is accepted is computed with.
  if (config.ok()) (void)lockstep::worker::CheckTensorParallel(*config, 2);
  return 0;
}
