// From the command line, the environment and a configuration file to ServerOptions.
#ifndef LOCKSTEP_SERVER_CONFIG_PARSE_SERVER_OPTIONS_H_
#define LOCKSTEP_SERVER_CONFIG_PARSE_SERVER_OPTIONS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/server_options.h"

namespace lockstep::server {

// Variables by name.
using Environment = std::map<std::string, std::string>;

struct ServerCommandLine {
  // Not empty: --help or --version was asked for. Print this and exit; `options` says nothing.
  std::string text_to_print;
  ServerOptions options;
  // Set in the environment, spelled like options, and known to nobody: worth a line in the log.
  std::vector<std::string> unknown_variables;
};

// Each option --some-name is also the variable LOCKSTEP_SOME_NAME and the key `some-name` of the
// file that --config (or LOCKSTEP_CONFIG) names: `key = value` lines, as in TOML and INI. Flag
// before environment before file before default.
//
// INVALID_ARGUMENT names the option, where it was set, its value, the limit and the fix. Reads no
// file but that one.
absl::StatusOr<ServerCommandLine> ParseServerOptions(int argc, const char* const* argv,
                                                     const Environment& environment);

// The environment of this process.
Environment ProcessEnvironment();

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_CONFIG_PARSE_SERVER_OPTIONS_H_
