#include "process/command_line.h"

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lockstep {

void DeclareHelpAndVersion(CLI::App& app) {
  app.set_help_flag("--help,-h", "Print this and exit");
  app.add_flag("--version")->description("Print the version and exit");
}

absl::StatusOr<std::string> ReadArguments(CLI::App& app, int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(absl::StrCat(error.what(), "; see --help"));
  }
  if (app.count("--version") == 0) return std::string();
  return absl::StrCat(app.get_name(), " ", LOCKSTEP_VERSION, "\n");
}

}  // namespace lockstep
