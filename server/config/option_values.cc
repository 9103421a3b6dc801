#include "server/config/option_values.h"

#include <sys/un.h>

#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace lockstep::server {
namespace {

// Splits "4.5GiB" into 4.5 and "GiB". False if there is no number in front.
bool SplitNumber(absl::string_view text, double* number, absl::string_view* unit) {
  const size_t end = text.find_first_not_of("0123456789.");
  *unit = end == absl::string_view::npos ? absl::string_view()
                                         : absl::StripAsciiWhitespace(text.substr(end));
  return absl::SimpleAtod(text.substr(0, end), number) && std::isfinite(*number);
}

absl::Status Expected(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("expected ", what));
}

}  // namespace

absl::StatusOr<int64_t> ParseInteger(absl::string_view text, int64_t minimum, int64_t maximum) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < minimum || value > maximum) {
    return Expected(absl::StrCat("a whole number from ", minimum, " to ", maximum));
  }
  return value;
}

absl::StatusOr<double> ParseNumber(absl::string_view text, double minimum, double maximum) {
  double value = 0.0;
  // Not: value < minimum, which is false for no number at all.
  if (!absl::SimpleAtod(text, &value) || !(value >= minimum && value <= maximum)) {
    return Expected(absl::StrCat("a number from ", minimum, " to ", maximum));
  }
  return value;
}

absl::StatusOr<bool> ParseBool(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  if (lower == "true" || lower == "1" || lower == "yes" || lower == "on") return true;
  if (lower == "false" || lower == "0" || lower == "no" || lower == "off") return false;
  return Expected("true or false");
}

absl::StatusOr<uint64_t> ParseBytes(absl::string_view text) {
  static constexpr std::pair<absl::string_view, double> kUnits[] = {
      {"", 1},         {"b", 1},       {"ki", 0x1p10},  {"kib", 0x1p10}, {"mi", 0x1p20},
      {"mib", 0x1p20}, {"gi", 0x1p30}, {"gib", 0x1p30}, {"ti", 0x1p40},  {"tib", 0x1p40},
      {"k", 1e3},      {"kb", 1e3},    {"m", 1e6},      {"mb", 1e6},     {"g", 1e9},
      {"gb", 1e9},     {"t", 1e12},    {"tb", 1e12}};
  double number = 0;
  absl::string_view unit;
  if (SplitNumber(text, &number, &unit)) {
    for (const auto& [name, factor] : kUnits) {
      const double bytes = number * factor;
      if (absl::EqualsIgnoreCase(unit, name) && bytes < 0x1p60) return static_cast<uint64_t>(bytes);
    }
  }
  return Expected("a number of bytes below 1 EiB such as 4GiB, 512MiB or 1000000");
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text, absl::Duration minimum,
                                             absl::Duration maximum) {
  absl::Duration duration;
  double seconds = 0;
  absl::string_view unit;
  const bool is_number = SplitNumber(text, &seconds, &unit) && unit.empty();
  if (is_number) duration = absl::Seconds(seconds);
  if ((!is_number && !absl::ParseDuration(text, &duration)) || duration < minimum ||
      duration > maximum) {
    return Expected(absl::StrCat("a duration from ", absl::FormatDuration(minimum), " to ",
                                 absl::FormatDuration(maximum), " such as 500ms, 30s or 2m"));
  }
  return duration;
}

absl::StatusOr<std::string> ParseChoice(absl::string_view text,
                                        const std::vector<std::string>& choices) {
  for (const std::string& choice : choices) {
    if (text == choice) return choice;
  }
  return Expected(absl::StrCat("one of ", absl::StrJoin(choices, ", ")));
}

absl::StatusOr<std::string> ParseHostPort(absl::string_view text) {
  const size_t colon = text.rfind(':');
  const absl::string_view host = text.substr(0, colon);
  int64_t port = -1;
  const bool is_bracketed = absl::StartsWith(host, "[") && absl::EndsWith(host, "]");
  const bool good_host = !host.empty() && host != "[]" && host.find('/') == host.npos &&
                         (is_bracketed || host.find(':') == host.npos);
  if (colon == text.npos || !good_host || !absl::SimpleAtoi(text.substr(colon + 1), &port) ||
      port < 0 || port > std::numeric_limits<uint16_t>::max()) {
    return Expected(
        "host:port with a port from 0 (any free one) to 65535, such as 127.0.0.1:50051, "
        "0.0.0.0:50051 or [::]:50051");
  }
  return std::string(text);
}

absl::StatusOr<std::string> ParseLinkAddress(absl::string_view text) {
  absl::string_view path = text;
  if (!absl::ConsumePrefix(&path, "unix:")) return ParseHostPort(text);
  const size_t limit = sizeof(sockaddr_un{}.sun_path) - 1;
  if (path.empty() || path.size() > limit) {
    return Expected(absl::StrCat("unix: and a path of 1 to ", limit, " bytes, or host:port"));
  }
  return std::string(text);
}

int PortOf(absl::string_view host_port) {
  int port = 0;
  return absl::SimpleAtoi(host_port.substr(host_port.rfind(':') + 1), &port) ? port : 0;
}

}  // namespace lockstep::server
