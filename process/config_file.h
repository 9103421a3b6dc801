// The `name = value` lines of the file that --config names.
#ifndef LOCKSTEP_PROCESS_CONFIG_FILE_H_
#define LOCKSTEP_PROCESS_CONFIG_FILE_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep {

struct ConfigLine {
  int number = 0;      // from 1
  std::string name;    // of an option, with dashes
  std::string value;   // without its quotes
  std::string source;  // for people: the name as it is written, and the file
};

// Empty lines and comments (behind `#`, before which is a space; whole lines also behind `;`) are
// passed over. A value is what stands between quotes of either kind, without escapes, or one word
// without quotes, commas and brackets. Names may have underscores for dashes; `is_option` says
// which there are, and `hint` what to write instead of one that there is not ("; did you mean
// ...?"). Errors are INVALID_ARGUMENT and name file and line: sections, lists, unknown names, and
// names that come again.
absl::StatusOr<std::vector<ConfigLine>> ReadConfigFile(
    const std::string& path, absl::FunctionRef<bool(absl::string_view)> is_option,
    absl::FunctionRef<std::string(absl::string_view)> hint);

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_CONFIG_FILE_H_
