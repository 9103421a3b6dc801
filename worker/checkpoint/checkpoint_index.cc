#include "worker/checkpoint/checkpoint_index.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/checkpoint/json_fields.h"

namespace lockstep::worker {
namespace {

using Json = nlohmann::json;

// As much as a safetensors file's header may take: both have an entry for each tensor.
constexpr uintmax_t kMaxIndexBytes = 100'000'000;

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
  if (const auto size = std::filesystem::file_size(path, error); error || size > kMaxIndexBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " is larger than ", kMaxIndexBytes, " bytes: not an index"));
  }
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const absl::StatusOr<Json> json = ParseJson(text, path.string());
  if (!json.ok()) return json.status();
  const auto map = json->is_object() ? json->find("weight_map") : json->end();
  if (map == json->end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " has no weight_map that names the tensors' files"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, value] : map->items()) {
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
