// The part of a command line that all servers and workers have.
#ifndef LOCKSTEP_PROCESS_COMMAND_LINE_H_
#define LOCKSTEP_PROCESS_COMMAND_LINE_H_

#include <string>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"

namespace lockstep {

// --help, -h and --version.
void DeclareHelpAndVersion(CLI::App& app);

// Reads the arguments into `app`, which has DeclareHelpAndVersion's options. Returns the text that
// --help or --version asks for, to print and end; empty: go on. INVALID_ARGUMENT as CLI11 words it.
absl::StatusOr<std::string> ReadArguments(CLI::App& app, int argc, const char* const* argv);

}  // namespace lockstep

#endif  // LOCKSTEP_PROCESS_COMMAND_LINE_H_
