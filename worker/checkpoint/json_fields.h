#ifndef LOCKSTEP_WORKER_CHECKPOINT_JSON_FIELDS_H_
#define LOCKSTEP_WORKER_CHECKPOINT_JSON_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lockstep::worker {

// Objects and lists may nest this deep: what copies or prints a value calls itself for each level,
// and no file of a checkpoint has more than a few.
inline constexpr int kMaxJsonDepth = 100;

// Parses what a checkpoint's file holds. INVALID_ARGUMENT, beginning with `source`, where that is
// no JSON or nests deeper than kMaxJsonDepth; short, and in ASCII. `callback` is the JSON
// library's.
absl::StatusOr<nlohmann::json> ParseJson(
    std::string_view text, const std::string& source,
    const nlohmann::json::parser_callback_t& callback = nullptr);

// Reads the fields of a JSON object with their types and ranges. null counts as absent. The first
// error is kept and later reads return harmless values, so that a caller reads everything and then
// asks status() once.
class JsonFields {
 public:
  // `object` is borrowed and must be a JSON object. `source` (a file, or a file and field) begins
  // every error.
  JsonFields(const nlohmann::json& object, std::string source);

  bool Has(const char* name) const { return Find(name) != nullptr; }
  // For the few fields whose null is not what their absence is.
  bool IsNull(const char* name) const;
  // The field, or nullptr when absent or null.
  const nlohmann::json* Find(const char* name) const;

  // Limits are inclusive. A required field that is absent is an error.
  int64_t RequiredInteger(const char* name, int64_t min, int64_t max);
  int64_t Integer(const char* name, int64_t default_value, int64_t min, int64_t max);
  double RequiredNumber(const char* name, double min, double max);
  double Number(const char* name, double default_value, double min, double max);
  bool Bool(const char* name, bool default_value);
  std::string String(const char* name, std::string_view default_value);
  // A list of `size` numbers.
  std::vector<double> RequiredNumbers(const char* name, size_t size, double min, double max);
  // One integer or a list of them.
  std::vector<int64_t> Integers(const char* name, int64_t min, int64_t max);

  // Records "SOURCE: field NAME is VALUE; EXPECTED".
  void Fail(const char* name, const std::string& expected);
  void Fail(const std::string& message);
  // Records the error of a part of this object, which names its source itself.
  void Fail(const absl::Status& status);

  const absl::Status& status() const { return status_; }

 private:
  std::optional<int64_t> AsInteger(const nlohmann::json& value) const;

  const nlohmann::json& object_;
  std::string source_;
  absl::Status status_;
};

// `value` as JSON text, shortened for an error message.
std::string ShortJson(const nlohmann::json& value);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_CHECKPOINT_JSON_FIELDS_H_
