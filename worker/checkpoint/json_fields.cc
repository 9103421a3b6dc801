#include "worker/checkpoint/json_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace lockstep::worker {

using Json = nlohmann::json;

namespace {

// How deep objects and lists nest, at most.
int JsonDepth(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool is_in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      is_in_string = !is_in_string;
    } else if (is_in_string) {
      if (c == '\\') ++i;  // with what it escapes
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

// What the JSON library says of a text that is none, on one short line of ASCII: it quotes what it
// read last, which in a broken file is any bytes, and any number of them.
std::string JsonErrorText(const Json::exception& error) {
  constexpr size_t kMaxLength = 240;
  std::string text = error.what();
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return !absl::ascii_isprint(static_cast<unsigned char>(c)); }, '?');
  if (text.size() > kMaxLength) text = absl::StrCat(text.substr(0, kMaxLength), "...");
  return text;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text, const std::string& source,
                               const Json::parser_callback_t& callback) {
  if (const int depth = JsonDepth(text); depth > kMaxJsonDepth) {
    return absl::InvalidArgumentError(absl::StrCat(source, " nests objects and lists ", depth,
                                                   " deep; the limit is ", kMaxJsonDepth));
  }
  try {
    return Json::parse(text, callback);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, " is not valid JSON: ", JsonErrorText(error)));
  }
}

std::string ShortJson(const Json& value) {
  constexpr size_t kMaxLength = 80;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMaxLength) text = absl::StrCat(text.substr(0, kMaxLength), "...");
  return text;
}

JsonFields::JsonFields(const Json& object, std::string source)
    : object_(object), source_(std::move(source)) {}

const Json* JsonFields::Find(const char* name) const {
  const auto it = object_.find(name);
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

bool JsonFields::IsNull(const char* name) const {
  const auto it = object_.find(name);
  return it != object_.end() && it->is_null();
}

void JsonFields::Fail(const std::string& message) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(absl::StrCat(source_, ": ", message));
}

void JsonFields::Fail(const absl::Status& status) {
  if (status_.ok()) status_ = status;
}

void JsonFields::Fail(const char* name, const std::string& expected) {
  const Json* value = Find(name);
  if (value == nullptr) {
    Fail(absl::StrCat("field ", name, " is missing; ", expected));
  } else {
    Fail(absl::StrCat("field ", name, " is ", ShortJson(*value), "; ", expected));
  }
}

std::optional<int64_t> JsonFields::AsInteger(const Json& value) const {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {  // 4096.0, as some converters write
    const double number = value.get<double>();
    if (std::abs(number) < 9e15 && std::nearbyint(number) == number) {
      return static_cast<int64_t>(number);
    }
  }
  return std::nullopt;
}

int64_t JsonFields::RequiredInteger(const char* name, int64_t min, int64_t max) {
  if (!Has(name)) Fail(name, "a Llama checkpoint has it");
  return Integer(name, min, min, max);
}

int64_t JsonFields::Integer(const char* name, int64_t default_value, int64_t min, int64_t max) {
  const Json* value = Find(name);
  if (value == nullptr) return default_value;
  const std::optional<int64_t> number = AsInteger(*value);
  if (!number || *number < min || *number > max) {
    Fail(name, absl::StrCat("it must be an integer from ", min, " to ", max));
    return min;
  }
  return *number;
}

double JsonFields::RequiredNumber(const char* name, double min, double max) {
  if (!Has(name)) Fail(name, "this rope type needs it");
  return Number(name, min, min, max);
}

double JsonFields::Number(const char* name, double default_value, double min, double max) {
  const Json* value = Find(name);
  if (value == nullptr) return default_value;
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (!(number >= min && number <= max)) {
    Fail(name, absl::StrCat("it must be a number from ", min, " to ", max));
    return min;
  }
  return number;
}

bool JsonFields::Bool(const char* name, bool default_value) {
  const Json* value = Find(name);
  if (value == nullptr) return default_value;
  if (!value->is_boolean()) {
    Fail(name, "it must be true or false");
    return default_value;
  }
  return value->get<bool>();
}

std::string JsonFields::String(const char* name, std::string_view default_value) {
  const Json* value = Find(name);
  if (value == nullptr) return std::string(default_value);
  if (!value->is_string()) {
    Fail(name, "it must be a string");
    return std::string(default_value);
  }
  return value->get<std::string>();
}

std::vector<double> JsonFields::RequiredNumbers(const char* name, size_t size, double min,
                                                double max) {
  const Json* value = Find(name);
  std::vector<double> numbers;
  if (value != nullptr && value->is_array() && value->size() == size) {
    for (const Json& entry : *value) {
      const double number = entry.is_number() ? entry.get<double>() : NAN;
      if (number >= min && number <= max) numbers.push_back(number);
    }
  }
  if (numbers.size() == size) return numbers;
  Fail(name, absl::StrCat("this rope type needs a list of ", size, " numbers from ", min, " to ",
                          max, ", one for each pair of a head's features"));
  return std::vector<double>(size, min);
}

std::vector<int64_t> JsonFields::Integers(const char* name, int64_t min, int64_t max) {
  const Json* value = Find(name);
  if (value == nullptr) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<int64_t> numbers;
  for (const Json& entry : list) {
    const std::optional<int64_t> number = AsInteger(entry);
    if (!number || *number < min || *number > max) {
      Fail(name,
           absl::StrCat("it must be an integer from ", min, " to ", max, ", or a list of them"));
      return {};
    }
    numbers.push_back(*number);
  }
  return numbers;
}

}  // namespace lockstep::worker
