// generation_config.json.
#include <string_view>

#include "server/admission/generation_defaults.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temporary_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lockstep::testing::TemporaryDirectory directory;
  directory.Write("generation_config.json", {reinterpret_cast<const char*>(data), size});
  (void)lockstep::server::LoadGenerationDefaults(directory.path(), 300, 257);
  return 0;
}
