#include "worker/checkpoint/checkpoint_index.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/checkpoint/json_fields.h"

namespace lockstep::worker {
namespace {

using Json = nlohmann::json;

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ReadCheckpointIndex(
    const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(absl::StrCat(
        path.string(), " cannot be read: ", error ? error.message() : "it is not a regular file",
        "; download it again"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(path.string(), " cannot be read: ", std::strerror(errno)));
  }
  const Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is not valid JSON"));
  }
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object() ||
      json["weight_map"].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " has no weight_map that names the tensors' files"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, value] : json["weight_map"].items()) {
    const std::string name = value.is_string() ? value.get<std::string>() : "";
    if (!IsPlainFileName(name)) {
      return absl::InvalidArgumentError(absl::StrCat(path.string(), ": weight_map of ", tensor,
                                                     " is ", ShortJson(value),
                                                     "; it must be the name of a file beside it"));
    }
    files.emplace(tensor, name);
  }
  return files;
}

}  // namespace lockstep::worker
