#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

#include "absl/time/time.h"
#include "process/processor_count.h"
#include "process/write_signals.h"
#include "server/app/checked_model.h"
#include "server/app/exit_status.h"
#include "server/app/open_files.h"
#include "server/app/pool_setup.h"
#include "server/app/process_events.h"
#include "server/app/server_app.h"
#include "server/app/server_log.h"
#include "server/config/parse_server_options.h"

namespace lockstep::server {
namespace {

ExitStatus Refuse(const absl::Status& status) {
  std::fprintf(stderr, "lockstep-server: %s\n", std::string(status.message()).c_str());
  return ExitStatus::kBadUsage;
}

// For the last lines of the log to be read.
constexpr absl::Duration kLogPatience = absl::Seconds(1);

absl::StatusOr<PoolOptions> SetUpPool(const ServerOptions& options, const CheckedModel& model,
                                      const Environment& environment) {
  PoolSurroundings surroundings;
  if (!options.external_workers) {
    absl::StatusOr<std::filesystem::path> binary = FindWorkerBinary();
    if (!binary.ok()) return binary.status();
    surroundings.worker_binary = *std::move(binary);
  }
  const auto token = environment.find("LOCKSTEP_POOL_TOKEN");
  if (token != environment.end()) surroundings.token = token->second;
  surroundings.num_available_cores = NumUsableProcessors();
  surroundings.num_allowed_cores = static_cast<int>(AllowedProcessors().size());
  return MakePoolOptions(options, model, surroundings);
}

ExitStatus Main(int argc, char** argv) {
  // Where it is ignored, which programs inherit, the kernel tells nobody of a worker's end.
  signal(SIGCHLD, SIG_DFL);
  const Environment environment = ProcessEnvironment();
  const auto command_line = ParseServerOptions(argc, argv, environment);
  if (!command_line.ok()) return Refuse(command_line.status());
  if (!command_line->text_to_print.empty()) {
    std::fputs(command_line->text_to_print.c_str(), stdout);
    return ExitStatus::kStopped;
  }
  if (absl::Status status = RaiseOpenFilesLimit(command_line->options.tensor_parallel_size);
      !status.ok()) {
    return Refuse(status);
  }
  const ServerOptions& options = command_line->options;
  SetUpLog(options.log_level);
  for (const std::string& variable : command_line->unknown_variables) {
    spdlog::warn("the environment variable {} is no option of this server", variable);
  }
  absl::StatusOr<CheckedModel> model = CheckModel(options);
  if (!model.ok()) return Refuse(model.status());
  absl::StatusOr<PoolOptions> pool = SetUpPool(options, *model, environment);
  if (!pool.ok()) return Refuse(pool.status());

  IgnoreWriteSignals();
  ProcessEvents events;
  ServerApp app(options, *std::move(model), *std::move(pool), events);
  if (absl::Status status = app.Start(); !status.ok()) return Refuse(status);
  return app.Run();
}

}  // namespace
}  // namespace lockstep::server

int main(int argc, char** argv) {
  const int status = static_cast<int>(lockstep::server::Main(argc, argv));
  // Whoever has stopped reading the log cannot keep the process either.
  if (!lockstep::server::EndLog(lockstep::server::kLogPatience)) _exit(status);
  return status;
}
