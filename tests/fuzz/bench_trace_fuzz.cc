// A trace of arrivals and lengths for `lockstep bench serve`.
#include <cstdlib>
#include <sstream>
#include <string>

#include "client/bench/workload.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::istringstream in(std::string(reinterpret_cast<const char*>(data), size));
  const auto trace = lockstep::client::ReadTrace(in, "trace");
  if (!trace.ok()) return 0;
  if (!trace->empty() && trace->front().at != 0) std::abort();
  for (size_t i = 1; i < trace->size(); ++i) {
    if (!((*trace)[i].at >= (*trace)[i - 1].at)) std::abort();
  }
  return 0;
}
