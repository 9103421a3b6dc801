#include "server/admission/generation_defaults.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/admission/limits.h"
#include "worker/checkpoint/json_fields.h"

namespace lockstep::server {
namespace {

using nlohmann::json;

// Far above any real file; keeps a mistaken path from being read into memory.
constexpr std::uintmax_t kMaxFileBytes = 16 << 20;

struct Range {
  double min;
  bool min_is_allowed;
  double max;
};

// One of the two files: its path for errors, and its object (empty if there is no such file).
struct ConfigFile {
  std::filesystem::path path;
  json object = json::object();

  absl::Status Error(absl::string_view field, const json& value, absl::string_view expected) const {
    return absl::InvalidArgumentError(absl::StrCat(
        path.string(), ": ", field, " is ", worker::ShortJson(value), "; expected ", expected));
  }

  // Null counts as absent, as in transformers.
  const json* Find(const char* field) const {
    auto it = object.find(field);
    return it == object.end() || it->is_null() ? nullptr : &*it;
  }
};

absl::StatusOr<ConfigFile> ReadConfigFile(const std::filesystem::path& path) {
  ConfigFile file{path};
  std::error_code error;
  // A link to nowhere is there, and not readable.
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, error))) return file;
  const auto size = std::filesystem::file_size(path, error);
  if (error || size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), error ? ": not a readable file"
                                          : ": larger than 16 MiB; is it the right file?"));
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream)
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": cannot be read; check its permissions"));
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  absl::StatusOr<json> parsed = worker::ParseJson(text, path.string());
  if (!parsed.ok()) return parsed.status();
  file.object = *std::move(parsed);
  if (!file.object.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": not a JSON object (",
                                                   text.size(), " bytes); is the file complete?"));
  }
  return file;
}

absl::Status ReadNumber(const ConfigFile& file, const char* field, Range range,
                        absl::string_view expected, float& out) {
  const json* value = file.Find(field);
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_number()) return file.Error(field, *value, expected);
  const double number = value->get<double>();
  const bool too_small = range.min_is_allowed ? number < range.min : number <= range.min;
  if (!std::isfinite(number) || too_small || number > range.max)
    return file.Error(field, *value, expected);
  out = static_cast<float>(number);
  return absl::OkStatus();
}

absl::Status ReadTopK(const ConfigFile& file, uint32_t& out) {
  const json* value = file.Find("top_k");
  if (value == nullptr) return absl::OkStatus();
  // -1 is how several libraries write "off".
  if (value->is_number_integer() && value->get<int64_t>() == -1) return absl::OkStatus();
  if (!value->is_number_unsigned() || value->get<uint64_t>() > UINT32_MAX) {
    return file.Error("top_k", *value, "an integer of at least 0 (0 = off)");
  }
  out = value->get<uint32_t>();
  return absl::OkStatus();
}

// temperature, with do_sample deciding whether it is a default or nothing at all.
absl::Status ReadTemperature(const ConfigFile& file, float& out) {
  bool do_sample = false;
  if (const json* value = file.Find("do_sample")) {
    if (!value->is_boolean()) return file.Error("do_sample", *value, "true or false");
    do_sample = value->get<bool>();
  }
  float temperature = 1;
  auto status = ReadNumber(file, "temperature", {0, true, limits::kTemperature},
                           "a number in [0, 100]", temperature);
  if (do_sample) out = temperature;
  return status;
}

// Appends eos_token_id; ids that the model cannot produce are warned of and left out.
absl::Status ReadEosTokenIds(const ConfigFile& file, int32_t vocab_size,
                             GenerationDefaults& defaults) {
  const json* value = file.Find("eos_token_id");
  if (value == nullptr) return absl::OkStatus();
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    if (!id.is_number_integer())
      return file.Error("eos_token_id", *value, "a token id or a list of token ids");
    const auto number = id.get<int64_t>();
    if (number >= 0 && number < vocab_size) {
      defaults.eos_token_ids.push_back(static_cast<int32_t>(number));
    } else {
      defaults.warnings.push_back(absl::StrCat(file.path.string(), ": eos_token_id ", number,
                                               " is outside of the vocabulary of ", vocab_size,
                                               " tokens; ignored"));
    }
  }
  return absl::OkStatus();
}

bool IsEmptyList(const json& value) { return value.is_array() && value.empty(); }

// Fields that change what transformers would generate: with the value at which they do nothing, and
// those that do something wherever they are set.
void WarnOfUnsupported(const ConfigFile& file, GenerationDefaults& defaults) {
  static constexpr std::pair<const char*, double> kNeutral[] = {
      {"num_beams", 1},     {"no_repeat_ngram_size", 0}, {"epsilon_cutoff", 0},
      {"eta_cutoff", 0},    {"length_penalty", 1},       {"encoder_repetition_penalty", 1},
      {"penalty_alpha", 0}, {"guidance_scale", 1},       {"min_length", 0},
      {"min_new_tokens", 0}};
  static constexpr const char* kSet[] = {"suppress_tokens",
                                         "begin_suppress_tokens",
                                         "bad_words_ids",
                                         "sequence_bias",
                                         "forced_bos_token_id",
                                         "forced_eos_token_id",
                                         "stop_strings",
                                         "exponential_decay_length_penalty",
                                         "top_h"};
  const auto warn = [&](const char* field, const json& value) {
    defaults.warnings.push_back(absl::StrCat(file.path.string(), ": ", field, " is ",
                                             worker::ShortJson(value),
                                             ", which this server does not apply as a default"));
  };
  for (const auto& [field, neutral] : kNeutral) {
    const json* value = file.Find(field);
    if (value == nullptr || (value->is_number() && value->get<double>() == neutral)) continue;
    warn(field, *value);
  }
  for (const char* field : kSet) {
    const json* value = file.Find(field);
    if (value != nullptr && !IsEmptyList(*value)) warn(field, *value);
  }
}

absl::Status ReadSampling(const ConfigFile& file, GenerationDefaults& defaults) {
  absl::Status status = ReadTemperature(file, defaults.temperature);
  status.Update(ReadTopK(file, defaults.top_k));
  status.Update(ReadNumber(file, "top_p", {0, false, 1}, "a number in (0, 1]", defaults.top_p));
  status.Update(ReadNumber(file, "min_p", {0, true, 1}, "a number in [0, 1]", defaults.min_p));
  status.Update(
      ReadNumber(file, "typical_p", {0, false, 1}, "a number in (0, 1]", defaults.typical_p));
  status.Update(ReadNumber(file, "repetition_penalty", {0, false, limits::kRepetitionPenalty},
                           "a number in (0, 100]", defaults.repetition_penalty));
  return status;
}

}  // namespace

absl::StatusOr<GenerationDefaults> LoadGenerationDefaults(
    const std::filesystem::path& model_dir, int32_t vocab_size,
    std::optional<int32_t> tokenizer_eos_token_id) {
  GenerationDefaults defaults;
  auto generation_config = ReadConfigFile(model_dir / "generation_config.json");
  if (!generation_config.ok()) return generation_config.status();
  if (auto status = ReadSampling(*generation_config, defaults); !status.ok()) return status;
  WarnOfUnsupported(*generation_config, defaults);

  auto& eos = defaults.eos_token_ids;
  if (auto status = ReadEosTokenIds(*generation_config, vocab_size, defaults); !status.ok())
    return status;
  if (eos.empty()) {
    auto config = ReadConfigFile(model_dir / "config.json");
    if (!config.ok()) return config.status();
    if (auto status = ReadEosTokenIds(*config, vocab_size, defaults); !status.ok()) return status;
  }
  if (eos.empty() && tokenizer_eos_token_id.has_value() && *tokenizer_eos_token_id >= 0 &&
      *tokenizer_eos_token_id < vocab_size) {
    eos.push_back(*tokenizer_eos_token_id);
  }
  std::sort(eos.begin(), eos.end());
  eos.erase(std::unique(eos.begin(), eos.end()), eos.end());
  return defaults;
}

}  // namespace lockstep::server
