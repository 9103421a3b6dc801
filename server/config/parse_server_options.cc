#include "server/config/parse_server_options.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/config/option_sources.h"
#include "server/config/option_table.h"
#include "server/config/option_values.h"

namespace lockstep::server {
namespace {

// Adds what `values` lacks.
void MergeBehind(SourcedValues& values, SourcedValues other) { values.merge(other); }

absl::StatusOr<ServerOptions> SetAll(const SourcedValues& values) {
  ServerOptions options;
  for (const OptionSpec& spec : ServerOptionTable()) {
    const auto it = values.find(spec.name);
    if (it == values.end()) continue;
    const auto& [value, source] = it->second;
    if (absl::Status status = spec.set(value, options); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(source, " is '", value, "': ", status.message()));
    }
  }
  return options;
}

// "--x" or where else the option was set; "--x (default)" if nowhere.
std::string Source(const SourcedValues& values, const std::string& name) {
  const auto it = values.find(name);
  return it == values.end() ? absl::StrCat("--", name, " (default)") : it->second.source;
}

absl::Status CheckWorkerOptions(const ServerOptions& options, const SourcedValues& values) {
  for (const char* name :
       {"gpu-memory-utilization", "enforce-eager", "profile-dir", "profile-steps"}) {
    if (options.device == "cuda" || !values.contains(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(Source(values, name), " is about GPUs, and the device is ", options.device,
                     ": leave it out, or say --device cuda"));
  }
  if (options.profile_dir.empty() && values.contains("profile-steps")) {
    return absl::InvalidArgumentError(absl::StrCat(
        Source(values, "profile-steps"), " is '", values.at("profile-steps").value,
        "': it says which steps --profile-dir is about; add --profile-dir or leave it out"));
  }
  if (!options.external_workers && values.contains("worker-listen")) {
    return absl::InvalidArgumentError(absl::StrCat(
        Source(values, "worker-listen"), " is '", options.worker_listen,
        "': it says where external workers dial; add --external-workers or leave it out"));
  }
  if (options.external_workers && options.pin_cores) {
    return absl::InvalidArgumentError(absl::StrCat(
        Source(values, "pin-cores"),
        " contradicts --external-workers: whoever starts the workers chooses their cores"));
  }
  return absl::OkStatus();
}

// Two listeners on one port; the wildcard address covers the others, so hosts are not compared.
absl::Status CheckPorts(const ServerOptions& options, const SourcedValues& values) {
  std::vector<std::pair<std::string, std::string>> listeners = {{"listen", options.listen}};
  if (!options.metrics_listen.empty())
    listeners.emplace_back("metrics-listen", options.metrics_listen);
  if (options.external_workers && !options.worker_listen.starts_with("unix:")) {
    listeners.emplace_back("worker-listen", options.worker_listen);
  }
  for (size_t i = 0; i < listeners.size(); ++i) {
    for (size_t j = i + 1; j < listeners.size(); ++j) {
      const int port = PortOf(listeners[i].second);
      if (port == 0 || port != PortOf(listeners[j].second)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          Source(values, listeners[i].first), " and ", Source(values, listeners[j].first),
          " both name port ", port, ": give each its own"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTogether(const ServerOptions& options, const SourcedValues& values) {
  if (options.model_dir.empty()) {
    return absl::InvalidArgumentError(
        "--model is missing: give the directory of a Hugging Face checkpoint");
  }
  if (options.max_num_batched_tokens < options.max_num_seqs) {
    return absl::InvalidArgumentError(absl::StrCat(
        Source(values, "max-num-batched-tokens"), " is ", options.max_num_batched_tokens,
        ", below ", Source(values, "max-num-seqs"), " of ", options.max_num_seqs,
        ": a step must hold a token of every running sequence; raise the one or lower the other"));
  }
  if (absl::Status status = CheckWorkerOptions(options, values); !status.ok()) return status;
  return CheckPorts(options, values);
}

void FillDefaults(ServerOptions& options, const SourcedValues& values) {
  if (options.external_workers && options.worker_listen.empty()) {
    options.worker_listen = kDefaultWorkerListen;
  }
  if (options.device == "cuda" && !values.contains("max-num-batched-tokens")) {
    options.max_num_batched_tokens = kMaxNumBatchedTokensOnGpus;
  }
  // Each follows the other where only one was given.
  if (!values.contains("max-num-seqs")) {
    options.max_num_seqs = std::min(options.max_num_seqs, options.max_num_batched_tokens);
  }
  if (!values.contains("max-num-batched-tokens")) {
    options.max_num_batched_tokens = std::max(options.max_num_batched_tokens, options.max_num_seqs);
  }
  if (options.served_model_name.empty()) {
    // "model/" and "." have names too.
    std::error_code no_directory;  // the working directory may be gone, the model not named
    const std::filesystem::path path = std::filesystem::absolute(options.model_dir, no_directory);
    const std::filesystem::path normal = path.lexically_normal();
    options.served_model_name =
        (normal.has_filename() ? normal : normal.parent_path()).filename().string();
  }
}

}  // namespace

absl::StatusOr<ServerCommandLine> ParseServerOptions(int argc, const char* const* argv,
                                                     const Environment& environment) {
  absl::StatusOr<CommandLineValues> command_line = ReadCommandLine(argc, argv);
  if (!command_line.ok()) return command_line.status();
  ServerCommandLine result;
  result.text_to_print = command_line->text_to_print;
  if (!result.text_to_print.empty()) return result;

  SourcedValues values = std::move(command_line->values);
  MergeBehind(values, ReadEnvironment(environment, result.unknown_variables));
  if (const auto config = values.find("config"); config != values.end()) {
    absl::StatusOr<SourcedValues> file = ReadOptionFile(config->second.value);
    if (!file.ok()) return file.status();
    MergeBehind(values, *std::move(file));
  }
  absl::StatusOr<ServerOptions> options = SetAll(values);
  if (!options.ok()) return options.status();
  FillDefaults(*options, values);
  if (absl::Status status = CheckTogether(*options, values); !status.ok()) return status;
  result.options = *std::move(options);
  return result;
}

Environment ProcessEnvironment() {
  Environment result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const absl::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != text.npos) result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

}  // namespace lockstep::server
