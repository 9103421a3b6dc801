#include "client/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace lockstep::client {
namespace {

uint32_t DrawLength(uint32_t middle, double ratio, std::mt19937_64& random) {
  const double low = std::max(1.0, std::floor(middle * (1 - ratio)));
  const double high = std::max(low, std::ceil(middle * (1 + ratio)));
  return std::uniform_int_distribution<uint32_t>(static_cast<uint32_t>(low),
                                                 static_cast<uint32_t>(high))(random);
}

// Seconds, from a number or a date and time.
std::optional<double> ParseTimestamp(const std::string& text) {
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    return std::isfinite(seconds) ? std::optional(seconds) : std::nullopt;
  }
  absl::Time time;
  std::string error;
  for (const char* format : {"%Y-%m-%d%ET%H:%M:%E*S", "%Y-%m-%d %H:%M:%E*S"}) {
    if (absl::ParseTime(format, text, &time, &error)) {
      return absl::ToDoubleSeconds(time - absl::UnixEpoch());
    }
  }
  return std::nullopt;
}

std::optional<uint32_t> ParseTokens(const std::string& text) {
  uint32_t tokens = 0;
  return absl::SimpleAtoi(text, &tokens) && tokens > 0 ? std::optional(tokens) : std::nullopt;
}

class TraceReader {
 public:
  explicit TraceReader(std::string name) : name_(std::move(name)) {}

  absl::Status Add(const std::string& line) {
    ++line_number_;
    if (absl::StripAsciiWhitespace(line).empty()) return absl::OkStatus();
    if (line_number_ == 1 && line.front() != '{') return ReadHeader(line);
    return columns_.empty() ? AddJson(line) : AddCsv(line);
  }

  absl::StatusOr<std::vector<PlannedRequest>> Finish() {
    if (requests_.empty()) return Wrong("the trace has no requests");
    std::stable_sort(requests_.begin(), requests_.end(),
                     [](const auto& a, const auto& b) { return a.at < b.at; });
    const double start = requests_.front().at;
    for (PlannedRequest& request : requests_) request.at -= start;
    return std::move(requests_);
  }

 private:
  absl::Status Wrong(absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ":", line_number_, ": ", problem));
  }

  absl::Status ReadHeader(const std::string& line) {
    const std::vector<std::string> names = absl::StrSplit(absl::StripAsciiWhitespace(line), ',');
    for (const char* wanted : {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}) {
      const auto it = std::find(names.begin(), names.end(), wanted);
      if (it == names.end()) {
        return Wrong(absl::StrCat("the header lacks the column ", wanted,
                                  "; a trace is CSV with the columns TIMESTAMP, ContextTokens and "
                                  "GeneratedTokens, or JSON lines"));
      }
      columns_.push_back(static_cast<size_t>(it - names.begin()));
    }
    return absl::OkStatus();
  }

  absl::Status AddCsv(const std::string& line) {
    const std::vector<std::string> cells = absl::StrSplit(absl::StripAsciiWhitespace(line), ',');
    std::string values[3];
    for (size_t i = 0; i < 3; ++i) {
      if (columns_[i] >= cells.size()) return Wrong("the line has too few columns");
      values[i] = cells[columns_[i]];
    }
    return AddRequest(values[0], values[1], values[2]);
  }

  absl::Status AddJson(const std::string& line) {
    nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) return Wrong("not a JSON object");
    std::vector<uint32_t> token_ids;
    if (const auto it = json.find("token_ids"); it != json.end()) {
      if (!ReadTokenIds(*it, token_ids)) {
        return Wrong("\"token_ids\" is not a list of at least one token id");
      }
      const auto length = json.emplace("input_length", token_ids.size()).first;
      if (*length != token_ids.size()) {
        return Wrong(absl::StrCat("\"input_length\" is ", length->dump(), ", but there are ",
                                  token_ids.size(), " \"token_ids\": leave the length out"));
      }
    }
    std::string values[3];
    const char* const names[] = {"timestamp", "input_length", "output_length"};
    for (size_t i = 0; i < 3; ++i) {
      const auto it = json.find(names[i]);
      if (it == json.end()) return Wrong(absl::StrCat("the object lacks \"", names[i], "\""));
      values[i] = it->is_string() ? it->get<std::string>() : it->dump();
    }
    const absl::Status added = AddRequest(values[0], values[1], values[2]);
    if (added.ok()) requests_.back().token_ids = std::move(token_ids);
    return added;
  }

  static bool ReadTokenIds(const nlohmann::json& json, std::vector<uint32_t>& token_ids) {
    if (!json.is_array() || json.empty()) return false;
    for (const nlohmann::json& id : json) {
      if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
        return false;
      }
      token_ids.push_back(id.get<uint32_t>());
    }
    return true;
  }

  absl::Status AddRequest(const std::string& timestamp, const std::string& input,
                          const std::string& output) {
    const auto at = ParseTimestamp(timestamp);
    if (!at.has_value()) {
      return Wrong(absl::StrCat("the timestamp is \"", timestamp,
                                "\"; expected seconds or a date and time"));
    }
    const auto input_tokens = ParseTokens(input), output_tokens = ParseTokens(output);
    if (!input_tokens.has_value() || !output_tokens.has_value()) {
      return Wrong(absl::StrCat("the lengths are \"", input, "\" and \"", output,
                                "\"; expected numbers of tokens, at least 1"));
    }
    requests_.push_back({*at, *input_tokens, *output_tokens, {}});
    return absl::OkStatus();
  }

  const std::string name_;
  size_t line_number_ = 0;
  std::vector<size_t> columns_;  // of a CSV: timestamp, input, output
  std::vector<PlannedRequest> requests_;
};

}  // namespace

std::vector<PlannedRequest> PlanRequests(size_t num_requests, const LengthOptions& lengths,
                                         const ArrivalOptions& arrivals, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<PlannedRequest> requests(num_requests);
  double at = 0;
  for (PlannedRequest& request : requests) {
    request.at = at;
    request.input_tokens = DrawLength(lengths.input, lengths.range_ratio, random);
    request.output_tokens = DrawLength(lengths.output, lengths.range_ratio, random);
    if (arrivals.rate > 0) {
      std::gamma_distribution<double> gaps(arrivals.burstiness,
                                           1 / (arrivals.burstiness * arrivals.rate));
      at += gaps(random);
    }
  }
  return requests;
}

absl::StatusOr<std::vector<PlannedRequest>> ReadTrace(std::istream& in, const std::string& name) {
  constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";
  TraceReader reader(name);
  std::string line;
  for (bool is_first = true; std::getline(in, line); is_first = false) {
    if (is_first && absl::StartsWith(line, kByteOrderMark)) line.erase(0, kByteOrderMark.size());
    absl::Status status = reader.Add(line);
    if (!status.ok()) return status;
  }
  return reader.Finish();
}

}  // namespace lockstep::client
