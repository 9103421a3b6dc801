#include "worker/checkpoint/safetensors_header.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/checkpoint/json_fields.h"

namespace lockstep::worker {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDimensions = 8;

// Bits of an element, or 0 for a type that the format does not have.
int64_t BitsPerElement(std::string_view dtype) {
  static const auto& kBits = *new std::map<std::string_view, int64_t>{
      {"BOOL", 8},        {"U8", 8},         {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8},
      {"F8_E8M0", 8},     {"I16", 16},       {"U16", 16}, {"F16", 16},    {"BF16", 16},
      {"I32", 32},        {"U32", 32},       {"F32", 32}, {"I64", 64},    {"U64", 64},
      {"F64", 64},        {"C64", 64},       {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
      {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};
  const auto it = kBits.find(dtype);
  return it == kBits.end() ? 0 : it->second;
}

bool IsSize(const Json& value) {
  return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{1} << 60;
}

bool IsSizeList(const Json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), IsSize);
}

// The JSON library keeps the last of two equal keys; a file with two tensors of a name is broken.
absl::StatusOr<Json> ParseWithoutDuplicates(std::string_view text, const std::string& source) {
  std::set<std::string> names;
  std::string duplicate;
  const auto check_key = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::key && depth == 1 &&
        !names.insert(value.get<std::string>()).second) {
      duplicate = value.get<std::string>();
    }
    return true;
  };
  absl::StatusOr<Json> json =
      ParseJson(text, absl::StrCat(source, ": the safetensors header"), check_key);
  if (json.ok() && !duplicate.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": the header names tensor ", duplicate, " twice"));
  }
  return json;
}

class EntryParser {
 public:
  EntryParser(const std::string& name, const std::string& source) : name_(name), source_(source) {}

  absl::StatusOr<SafetensorsEntry> Parse(const Json& json) const {
    if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string() ||
        !json.contains("shape") || !IsSizeList(json["shape"]) || !json.contains("data_offsets") ||
        !IsSizeList(json["data_offsets"]) || json["data_offsets"].size() != 2) {
      return Error(absl::StrCat("has the header entry ", ShortJson(json),
                                " instead of dtype, shape and two data_offsets"));
    }
    SafetensorsEntry entry;
    entry.name = name_;
    json["dtype"].get_to(entry.dtype);
    json["shape"].get_to(entry.shape);
    entry.begin = json["data_offsets"][0].get<uint64_t>();
    entry.end = json["data_offsets"][1].get<uint64_t>();
    if (absl::Status status = CheckSize(entry); !status.ok()) return status;
    return entry;
  }

 private:
  absl::Status Error(const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(source_, ": tensor ", name_, " ", what));
  }

  absl::Status CheckSize(const SafetensorsEntry& entry) const {
    const int64_t bits = BitsPerElement(entry.dtype);
    if (bits == 0) return Error(absl::StrCat("has the unknown dtype ", entry.dtype));
    if (entry.shape.size() > kMaxDimensions) {
      return Error(absl::StrCat("has ", entry.shape.size(), " dimensions"));
    }
    int64_t num_bits = bits;
    for (const int64_t size : entry.shape) {
      if (__builtin_mul_overflow(num_bits, size, &num_bits)) {
        return Error(absl::StrCat("has the absurd shape [", absl::StrJoin(entry.shape, ", "), "]"));
      }
    }
    if (entry.end < entry.begin || num_bits % 8 != 0 ||
        entry.end - entry.begin != static_cast<uint64_t>(num_bits / 8)) {
      return Error(absl::StrCat("has data_offsets [", entry.begin, ", ", entry.end,
                                "], but shape [", absl::StrJoin(entry.shape, ", "), "] of ",
                                entry.dtype, " takes ", num_bits / 8, " bytes"));
    }
    return absl::OkStatus();
  }

  const std::string& name_;
  const std::string& source_;
};

// `entries` in the order of their data.
absl::Status CheckCoverage(const std::vector<SafetensorsEntry>& entries, uint64_t data_size,
                           const std::string& source) {
  uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_size) {
      return absl::DataLossError(absl::StrCat(source, ": tensor ", entry.name, " ends at byte ",
                                              entry.end, " of the data, but there are ", data_size,
                                              ": the file is truncated; download it again"));
    }
    if (entry.begin != end) {
      return absl::InvalidArgumentError(absl::StrCat(
          source, ": tensor ", entry.name, " begins at byte ", entry.begin,
          " of the data, where the one before ends at ", end, ": tensors overlap or leave a hole"));
    }
    end = entry.end;
  }
  if (end != data_size) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": the tensors take ", end,
                                                   " bytes, but the file has ", data_size,
                                                   " bytes of data"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(std::string_view text,
                                                                     uint64_t data_size,
                                                                     const std::string& source) {
  absl::StatusOr<Json> json = ParseWithoutDuplicates(text, source);
  if (!json.ok()) return json.status();
  if (!json->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": the safetensors header is not a JSON object"));
  }
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : json->items()) {
    if (name == "__metadata__") continue;
    absl::StatusOr<SafetensorsEntry> entry = EntryParser(name, source).Parse(value);
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  if (absl::Status status = CheckCoverage(entries, data_size, source); !status.ok()) return status;
  return entries;
}

}  // namespace lockstep::worker
