#include "tests/testing/reference_file.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace lockstep::testing {

void EndForBadReference(const std::filesystem::path& path, const char* what) {
  std::fprintf(stderr, "reference values in %s: %s\n", path.c_str(), what);
  std::abort();
}

void ReadReference(const std::filesystem::path& path,
                   absl::FunctionRef<void(const nlohmann::json& reference)> read) {
  std::ifstream file(path);
  if (!file) EndForBadReference(path, "cannot be opened");
  try {
    read(nlohmann::json::parse(file));
  } catch (const nlohmann::json::exception& error) {
    EndForBadReference(path, error.what());
  }
}

}  // namespace lockstep::testing
