#include "process/config_file.h"

#include <filesystem>
#include <fstream>
#include <istream>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace lockstep {
namespace {

constexpr absl::string_view kWhitespace = " \t\r\f\v";

absl::StatusOr<std::string> UnquotedValue(absl::string_view text) {
  const size_t comment = text.find('#');
  if (comment != text.npos && comment > 0 && kWhitespace.find(text[comment - 1]) == text.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a # within a word: write \"", text,
                     "\" where it is part of the value, or a space before "
                     "it where it begins a comment"));
  }
  const absl::string_view value = absl::StripAsciiWhitespace(text.substr(0, comment));
  if (value.empty()) {
    return absl::InvalidArgumentError("has no value; an empty one is written \"\"");
  }
  if (value.find_first_of(kWhitespace) != value.npos ||
      value.find_first_of("\"',[]") != value.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("needs exactly one value, in quotes where it has spaces, commas, brackets or "
                     "quotes of the other kind, not ",
                     value));
  }
  return std::string(value);
}

// `text` begins with the quote.
absl::StatusOr<std::string> QuotedValue(absl::string_view text) {
  const size_t end = text.find(text.front(), 1);
  if (end == text.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a quote that is not closed in its line: ", text));
  }
  const absl::string_view rest = absl::StripAsciiWhitespace(text.substr(end + 1));
  if (!rest.empty() && rest.front() != '#') {
    return absl::InvalidArgumentError(
        absl::StrCat("has something behind its closing quote, where only a comment may be: ", rest,
                     "; a value with quotes goes between those of the other kind"));
  }
  return std::string(text.substr(1, end - 1));
}

// `line` is neither empty nor a comment.
absl::StatusOr<ConfigLine> ReadLine(int number, absl::string_view line) {
  const auto refused = [number](absl::string_view what, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("line ", number, ", '", what, "', ", problem));
  };
  if (line.front() == '[') {
    return refused(line, "is a section, of which there are none; write name = value lines alone");
  }
  const size_t equals = line.find('=');
  const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, equals));
  if (equals == line.npos || name.empty()) return refused(line, "is not name = value");
  const absl::string_view text = absl::StripAsciiWhitespace(line.substr(equals + 1));
  const bool is_quoted = !text.empty() && (text.front() == '"' || text.front() == '\'');
  absl::StatusOr<std::string> value = is_quoted ? QuotedValue(text) : UnquotedValue(text);
  if (!value.ok()) return refused(name, value.status().message());
  return ConfigLine{number, std::string(name), *std::move(value), {}};
}

// With names as they are written.
absl::StatusOr<std::vector<ConfigLine>> ReadLines(std::istream& file) {
  std::vector<ConfigLine> lines;
  std::string text;
  for (int number = 1; std::getline(file, text); ++number) {
    const absl::string_view line = absl::StripAsciiWhitespace(text);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    absl::StatusOr<ConfigLine> read = ReadLine(number, line);
    if (!read.ok()) return read.status();
    lines.push_back(*std::move(read));
  }
  return lines;
}

}  // namespace

absl::StatusOr<std::vector<ConfigLine>> ReadConfigFile(
    const std::string& path, absl::FunctionRef<bool(absl::string_view)> is_option,
    absl::FunctionRef<std::string(absl::string_view)> hint) {
  const auto refused = [&path](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("--config ", path, ": ", problem));
  };
  std::error_code ignored;
  std::ifstream file(path);
  if (!std::filesystem::is_regular_file(path, ignored) || !file.good()) {
    return refused("no such file, or not readable");
  }
  absl::StatusOr<std::vector<ConfigLine>> lines = ReadLines(file);
  if (!lines.ok()) return refused(lines.status().message());
  std::set<std::string> names;
  for (ConfigLine& line : *lines) {
    const std::string written =
        std::exchange(line.name, absl::StrReplaceAll(line.name, {{"_", "-"}}));
    if (!is_option(line.name)) {
      return refused(
          absl::StrCat("unknown option '", written, "' in line ", line.number, hint(line.name)));
    }
    if (!names.insert(line.name).second) {
      return refused(
          absl::StrCat("line ", line.number, " gives '", written, "' again: give it once"));
    }
    line.source = absl::StrCat(written, " in ", path);
  }
  return lines;
}

}  // namespace lockstep
