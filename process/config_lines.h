// The `name = value` lines of a configuration file, before anyone knows the names.
#ifndef LOCKSTEP_PROCESS_CONFIG_LINES_H_
#define LOCKSTEP_PROCESS_CONFIG_LINES_H_

#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lockstep {

struct ConfigLine {
  int number = 0;  // from 1
  std::string name;
  std::string value;  // without its quotes
};

// Empty lines and comments (behind `#`, before which is a space; whole lines also behind `;`) are
// passed over. A value is what stands between quotes of either kind, without escapes, or one word
// without quotes, commas and brackets. Errors are INVALID_ARGUMENT and name the line; sections and
// lists are errors.
absl::StatusOr<std::vector<ConfigLine>> ReadConfigLines(std::istream& file);

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_CONFIG_LINES_H_
