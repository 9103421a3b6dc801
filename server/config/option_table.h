// Every option of lockstep-server, once: its name, its help and how its value is read.
#ifndef LOCKSTEP_SERVER_CONFIG_OPTION_TABLE_H_
#define LOCKSTEP_SERVER_CONFIG_OPTION_TABLE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/server_options.h"

namespace lockstep::server {

struct OptionSpec {
  std::string name;        // as on the command line, without the dashes
  std::string group;       // heading in --help
  std::string value_name;  // empty: a switch, which stands for "true"
  std::string help;
  std::string default_text;  // empty: none worth naming
  // Reads a value into the options. The error says what was expected, not which option it was.
  std::function<absl::Status(absl::string_view value, ServerOptions& options)> set;
};

// In the order of --help.
const std::vector<OptionSpec>& ServerOptionTable();

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_CONFIG_OPTION_TABLE_H_
