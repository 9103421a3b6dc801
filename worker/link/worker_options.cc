#include "worker/link/worker_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "process/command_line.h"
#include "process/config_file.h"

namespace lockstep::worker {
namespace {

constexpr uint32_t kMaxWorldSize = 64;

// What a file may say.
constexpr absl::string_view kFileOptions[] = {"rank", "world-size", "frontend", "dial-timeout"};

constexpr char kFooter[] =
    "Exit status: 0 the frontend said goodbye, or SIGTERM or SIGINT; 1 loading or a step failed "
    "(the "
    "frontend has been told why);\n2 bad option; 3 the frontend is gone; 4 the frontend could not "
    "be "
    "reached, or refused this worker.";

struct Value {
  std::string text;
  std::string source;  // for people
};

class Values {
 public:
  void Add(const std::string& name, std::string text, std::string source) {
    values_.try_emplace(name, Value{std::move(text), std::move(source)});
  }
  const Value* Find(const std::string& name) const {
    const auto it = values_.find(name);
    return it == values_.end() ? nullptr : &it->second;
  }

 private:
  std::map<std::string, Value> values_;
};

absl::Status Bad(const Value& value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(value.source, " is '", value.text, "': expected ", expected));
}

absl::Status SetInteger(const Values& values, const std::string& name, uint32_t minimum,
                        uint32_t maximum, uint32_t& result) {
  const Value* value = values.Find(name);
  if (value == nullptr) return absl::OkStatus();
  uint32_t parsed = 0;
  if (!absl::SimpleAtoi(value->text, &parsed) || parsed < minimum || parsed > maximum) {
    return Bad(*value, absl::StrCat("a whole number from ", minimum, " to ", maximum));
  }
  result = parsed;
  return absl::OkStatus();
}

absl::Status SetFrontend(const Values& values, WorkerOptions& options) {
  const Value* value = values.Find("frontend");
  if (value == nullptr) {
    return absl::InvalidArgumentError(
        "--frontend is missing: give the address that lockstep-server --external-workers listens "
        "on for workers, host:port or unix:/path");
  }
  const size_t colon = value->text.rfind(':');
  uint32_t port = 0;
  const bool is_unix = absl::StartsWith(value->text, "unix:") && value->text.size() > 5;
  const bool is_tcp = colon != std::string::npos && colon > 0 &&
                      absl::SimpleAtoi(value->text.substr(colon + 1), &port) && port > 0 &&
                      port < 65536;
  if (!is_unix && !is_tcp) return Bad(*value, "host:port or unix:/path");
  options.frontend = value->text;
  return absl::OkStatus();
}

absl::Status SetDialTimeout(const Values& values, WorkerOptions& options) {
  const Value* value = values.Find("dial-timeout");
  if (value == nullptr) return absl::OkStatus();
  double seconds = 0;
  absl::Duration timeout;
  if (absl::SimpleAtod(value->text, &seconds)) {
    timeout = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(value->text, &timeout)) {
    return Bad(*value, "a duration such as 30s");
  }
  if (timeout < absl::ZeroDuration() || timeout > absl::Hours(24)) {
    return Bad(*value, "a duration from 0s to 24h");
  }
  options.dial_timeout = timeout;
  return absl::OkStatus();
}

absl::StatusOr<WorkerOptions> Interpret(const Values& values) {
  WorkerOptions options;
  uint32_t death_fd = 0;
  uint32_t result_fd = 0;
  for (const absl::Status& status :
       {SetInteger(values, "world-size", 1, kMaxWorldSize, options.world_size),
        SetInteger(values, "rank", 0, kMaxWorldSize - 1, options.rank),
        SetFrontend(values, options), SetDialTimeout(values, options),
        SetInteger(values, "death-fd", 3, 1 << 20, death_fd),
        SetInteger(values, "result-fd", 3, 1 << 20, result_fd)}) {
    if (!status.ok()) return status;
  }
  if (options.rank >= options.world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", options.rank, " is not below the world size of ", options.world_size,
                     ": ranks count from 0; set --rank and --world-size"));
  }
  options.local_world_size = options.world_size;
  absl::Status status =
      SetInteger(values, "local-world-size", 1, kMaxWorldSize, options.local_world_size);
  if (!status.ok()) return status;
  options.local_rank = options.rank % options.local_world_size;
  status = SetInteger(values, "local-rank", 0, kMaxWorldSize - 1, options.local_rank);
  if (!status.ok()) return status;
  if (values.Find("death-fd") != nullptr) options.death_fd = static_cast<int>(death_fd);
  if (values.Find("result-fd") != nullptr) options.result_fd = static_cast<int>(result_fd);
  if (const Value* token = values.Find("pool-token")) options.pool_token = token->text;
  return options;
}

void Declare(CLI::App& app) {
  DeclareHelpAndVersion(app);
  app.add_option("--rank")->type_name("N")->description(
      "This worker's rank, from 0 (also LOCKSTEP_RANK, RANK) [default: 0]");
  app.add_option("--world-size")
      ->type_name("N")
      ->description("Workers of the pool (also LOCKSTEP_WORLD_SIZE, WORLD_SIZE) [default: 1]");
  app.add_option("--frontend")
      ->type_name("ADDRESS")
      ->description(
          "Where the frontend listens for workers: host:port or unix:/path (also "
          "LOCKSTEP_FRONTEND)");
  app.add_option("--dial-timeout")
      ->type_name("DURATION")
      ->description("How long to try to reach it (also LOCKSTEP_DIAL_TIMEOUT) [default: 60s]");
  app.add_option("--config")
      ->type_name("FILE")
      ->description(
          "File with `name = value` lines, one for each of the options above, without the dashes");
  app.footer(absl::StrCat(
      "A flag counts before the environment, the environment before the file.\n"
      "LOCKSTEP_POOL_TOKEN holds the secret that the frontend was given, if it was given one. "
      "LOCAL_WORLD_SIZE, as torchrun\nsets it, says how many workers share the cores that this "
      "one may use, and LOCAL_RANK which of them this is: its GPU\namong those that it sees. On "
      "GPUs "
      "each needs one of its own.\n\n",
      kFooter));
}

void AddEnvironment(const std::map<std::string, std::string>& environment, Values& values) {
  static constexpr std::pair<const char*, const char*> kVariables[] = {
      {"LOCKSTEP_RANK", "rank"},
      {"LOCKSTEP_WORLD_SIZE", "world-size"},
      {"RANK", "rank"},
      {"WORLD_SIZE", "world-size"},
      {"LOCAL_RANK", "local-rank"},
      {"LOCAL_WORLD_SIZE", "local-world-size"},
      {"LOCKSTEP_FRONTEND", "frontend"},
      {"LOCKSTEP_DIAL_TIMEOUT", "dial-timeout"},
      {"LOCKSTEP_POOL_TOKEN", "pool-token"},
      {"LOCKSTEP_DEATH_FD", "death-fd"},
      {"LOCKSTEP_RESULT_FD", "result-fd"}};
  for (const auto& [variable, name] : kVariables) {
    const auto it = environment.find(variable);
    if (it != environment.end()) values.Add(name, it->second, variable);
  }
}

absl::Status AddFile(const std::string& path, Values& values) {
  const auto is_option = [](absl::string_view name) {
    return std::find(std::begin(kFileOptions), std::end(kFileOptions), name) !=
           std::end(kFileOptions);
  };
  const auto hint = [](absl::string_view) {
    return absl::StrCat("; there are ", absl::StrJoin(kFileOptions, ", "));
  };
  absl::StatusOr<std::vector<ConfigLine>> lines = ReadConfigFile(path, is_option, hint);
  if (!lines.ok()) return lines.status();
  for (ConfigLine& line : *lines) {
    values.Add(line.name, std::move(line.value), std::move(line.source));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WorkerCommandLine> ParseWorkerOptions(
    int argc, const char* const* argv, const std::map<std::string, std::string>& environment) {
  CLI::App app(
      "lockstep-worker: holds one rank's share of the model. lockstep-server starts its own.",
      "lockstep-worker");
  Declare(app);
  WorkerCommandLine result;
  absl::StatusOr<std::string> text = ReadArguments(app, argc, argv);
  if (!text.ok()) return text.status();
  result.text_to_print = *std::move(text);
  if (!result.text_to_print.empty()) return result;
  Values values;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_single_name();
    if (option->count() > 0) values.Add(name, option->results().front(), "--" + name);
  }
  AddEnvironment(environment, values);
  if (const Value* path = values.Find("config")) {
    if (absl::Status status = AddFile(path->text, values); !status.ok()) return status;
  }
  absl::StatusOr<WorkerOptions> options = Interpret(values);
  if (!options.ok()) return options.status();
  result.options = *std::move(options);
  return result;
}

}  // namespace lockstep::worker
