// Where values of options come from, before anyone knows what they mean.
#ifndef LOCKSTEP_SERVER_CONFIG_OPTION_SOURCES_H_
#define LOCKSTEP_SERVER_CONFIG_OPTION_SOURCES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/parse_server_options.h"

namespace lockstep::server {

// A value as somebody wrote it.
struct SourcedValue {
  std::string value;
  // For people: "--max-num-seqs", "LOCKSTEP_MAX_NUM_SEQS", "max-num-seqs in server.toml".
  std::string source;
};

// By the option's name without dashes; `config` and the like included.
using SourcedValues = std::map<std::string, SourcedValue>;

struct CommandLineValues {
  std::string text_to_print;  // of --help and --version
  SourcedValues values;
};

// The names come from ServerOptionTable(). Errors: unknown or repeated options, a missing value, a
// stray word.
absl::StatusOr<CommandLineValues> ReadCommandLine(int argc, const char* const* argv);

SourcedValues ReadEnvironment(const Environment& environment,
                              std::vector<std::string>& unknown_variables);

// Errors: a file that cannot be read, lines that are not name = value, unknown or repeated names.
absl::StatusOr<SourcedValues> ReadOptionFile(const std::string& path);

// "max-num-seqs" to "LOCKSTEP_MAX_NUM_SEQS".
std::string VariableName(absl::string_view option_name);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_CONFIG_OPTION_SOURCES_H_
