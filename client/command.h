// What the subcommands share: each registers itself with CLI11 and runs when it was chosen.
#ifndef LOCKSTEP_CLIENT_COMMAND_H_
#define LOCKSTEP_CLIENT_COMMAND_H_

#include <unistd.h>

#include <functional>
#include <optional>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/interrupt.h"

namespace lockstep::client {

// Process exit codes.
inline constexpr int kExitOk = 0;
// The server refused or failed, or is not there; or the output cannot be written.
inline constexpr int kExitServerError = 1;
inline constexpr int kExitUsage = 2;          // the command line is wrong
inline constexpr int kExitInterrupted = 130;  // Ctrl-C

// What every subcommand gets: the options that all of them have, and Ctrl-C.
struct CommandContext {
  std::string target = "127.0.0.1:50051";
  bool json = false;
  // Seconds to wait for a server that is not there yet or still loading. Absent: not for one that
  // is not there, and for one that loads as long as `timeout` lets.
  std::optional<double> wait;
  // Seconds for the whole call; 0: no limit.
  double timeout = 0;
  // Ends the process until a command sets something better.
  InterruptWatch interrupts{[](int) { _exit(kExitInterrupted); }};
};

// Returns an exit code.
using Command = std::function<int()>;

// Each adds a subcommand to `app` and sets `chosen` when the command line names it. The context
// must outlive the call of `chosen`.
void AddGenerate(CLI::App& app, CommandContext& context, Command& chosen);
void AddChat(CLI::App& app, CommandContext& context, Command& chosen);
void AddTokenize(CLI::App& app, CommandContext& context, Command& chosen);
void AddForward(CLI::App& app, CommandContext& context, Command& chosen);
void AddBench(CLI::App& app, CommandContext& context, Command& chosen);
void AddStatus(CLI::App& app, CommandContext& context, Command& chosen);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_COMMAND_H_
