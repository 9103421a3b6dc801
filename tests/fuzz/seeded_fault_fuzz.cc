// A fault on purpose that only mutations of the corpus reach: the driver has to find it, and say
// with which input.
#include <cstdlib>
#include <string_view>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.find("one") == 0 && text.find("two") == std::string_view::npos) std::abort();
  return 0;
}
