// lockstep: the command-line client.

#include <cstdlib>
#include <iostream>

#include "client/command.h"
#include "client/option_checks.h"
#include "google/protobuf/stubs/logging.h"

namespace lockstep::client {
namespace {

constexpr char kDescription[] = R"(lockstep: talk to a Lockstep inference server

  lockstep chat                                  a conversation
  lockstep generate "Once upon a time"           complete a text
  lockstep generate --chat "What is 12 + 30?"    answer one question
  lockstep status                                what the server is doing
  lockstep bench serve --request-rate 4          how fast it is)";

// Seconds, for --wait and --timeout: three decades, which every clock can add to its time.
constexpr double kLongestTime = 1e9;

// The exit code: the one given, unless what was printed cannot be written.
int EndOutput(int code) {
  if (std::cout.flush()) return code;
  std::cerr << "error: standard output cannot be written\n";
  return code == kExitOk ? kExitServerError : code;
}

int Main(int argc, char** argv) {
  CLI::App app(kDescription, "lockstep");
  app.set_version_flag("--version", std::string("lockstep ") + LOCKSTEP_VERSION);
  app.footer(
      "Exit status: 0 done, 1 the server refused, failed or is not there, 2 wrong command line, "
      "130 "
      "Ctrl-C.");
  app.require_subcommand(0, 1);
  app.fallthrough();

  CommandContext context;
  app.add_option("--target", context.target, "The server's address, host:port")
      ->envname("LOCKSTEP_TARGET")
      ->check(NotEmpty())
      ->capture_default_str();
  app.add_flag("--json", context.json, "Machine-readable output: JSON, one document per line");
  app.add_option(
         "--wait", context.wait,
         "Seconds to wait for a server that is not there yet or still loads; default: not "
         "for one that is not there, and as long as it takes for one that loads. status and "
         "tokenize are answered by one that loads")
      ->check(CLI::Range(0.0, kLongestTime));
  app.add_option("--timeout", context.timeout,
                 "Seconds that a call may take, and, without --wait, the loading of the server "
                 "before it; 0: no limit")
      ->check(CLI::Range(0.0, kLongestTime))
      ->capture_default_str();

  Command chosen;
  AddGenerate(app, context, chosen);
  AddChat(app, context, chosen);
  AddTokenize(app, context, chosen);
  AddForward(app, context, chosen);
  AddBench(app, context, chosen);
  AddStatus(app, context, chosen);
  CheckNumbers(app);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return EndOutput(app.exit(error) == 0 ? kExitOk : kExitUsage);
  }
  if (!chosen) {
    std::cerr
        << "error: which command? One of generate, chat, tokenize, forward, bench and status; "
           "--help lists them\n";
    return kExitUsage;
  }
  return EndOutput(chosen());
}

}  // namespace
}  // namespace lockstep::client

int main(int argc, char** argv) {
  // The server says what is wrong with a text that is not UTF-8, and Protobuf would say it as well.
  google::protobuf::SetLogHandler(nullptr);
  return lockstep::client::Main(argc, argv);
}
