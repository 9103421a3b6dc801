#include "client/option_checks.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace lockstep::client {
namespace {

std::string Not(const std::string& text, const char* expected) {
  return absl::StrCat("'", text, "' is not ", expected);
}

// CLI11 reads digits behind a 0 as octal.
bool IsDecimal(absl::string_view digits) {
  return digits == "0" || (!digits.empty() && digits[0] >= '1' && digits[0] <= '9');
}

std::string CheckUnsigned(const std::string& text) {
  uint64_t number;
  return IsDecimal(text) && absl::SimpleAtoi(text, &number)
             ? ""
             : Not(text, "a whole number from 0 to 18446744073709551615");
}

std::string CheckSigned(const std::string& text) {
  int64_t number;
  const bool is_decimal = IsDecimal(absl::StartsWith(text, "-") ? text.substr(1) : text);
  return is_decimal && absl::SimpleAtoi(text, &number) ? "" : Not(text, "a whole number");
}

std::string CheckReal(const std::string& text) {
  double number;
  return absl::SimpleAtod(text, &number) && std::isfinite(number) ? "" : Not(text, "a number");
}

}  // namespace

void CheckNumbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (absl::StartsWith(type, "UINT")) {
      option->check(CLI::Validator(CheckUnsigned, ""));
    } else if (absl::StartsWith(type, "INT")) {
      option->check(CLI::Validator(CheckSigned, ""));
    } else if (absl::StartsWith(type, "FLOAT")) {
      option->check(CLI::Validator(CheckReal, ""));
    }
  }
  for (CLI::App* command : app.get_subcommands(nullptr)) CheckNumbers(*command);
}

CLI::Validator NotEmpty() {
  const auto check = [](const std::string& text) {
    return text.empty() ? std::string("the value is empty") : std::string();
  };
  return CLI::Validator(check, "");
}

CLI::Validator TokenIdList() {
  const auto check = [](const std::string& text) {
    v1::TokenIds token_ids;
    return AddTokenIds(text, token_ids) ? "" : Not(text, "a list of token ids such as 1,306,4658");
  };
  return CLI::Validator(check, "");
}

bool AddTokenIds(const std::string& text, v1::TokenIds& token_ids) {
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    uint32_t id;
    if (!absl::SimpleAtoi(part, &id)) return false;
    token_ids.add_ids(id);
  }
  return true;
}

}  // namespace lockstep::client
