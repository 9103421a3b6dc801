// The server's options: each line up to an empty one is an argument, those with a `=` in front
// environment variables; what follows is the configuration file.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_split.h"
#include "server/config/parse_server_options.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/temporary_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lockstep::testing::TemporaryDirectory directory;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t border = bytes.find("\n\n");
  directory.Write("lockstep.conf",
                  border == std::string_view::npos ? std::string_view() : bytes.substr(border + 2));
  std::vector<std::string> arguments = {"lockstep-server", "--config",
                                        (directory.path() / "lockstep.conf").string()};
  lockstep::server::Environment environment;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(bytes.data(), std::min(border, bytes.size())), '\n')) {
    if (line.empty() || line.find('\0') != absl::string_view::npos) continue;
    if (line.front() != '=') {
      arguments.emplace_back(line);
      continue;
    }
    const std::pair<std::string, std::string> variable =
        absl::StrSplit(line.substr(1), absl::MaxSplits('=', 1));
    environment.insert(variable);
  }
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  const auto parsed =
      lockstep::server::ParseServerOptions(static_cast<int>(argv.size()), argv.data(), environment);
  if (!parsed.ok()) {
    // Whatever is wrong is said.
    if (parsed.status().message().empty()) std::abort();
    return 0;
  }
  if (!parsed->text_to_print.empty()) return 0;
  const lockstep::server::ServerOptions& options = parsed->options;
  if (options.tensor_parallel_size < 1 || options.max_num_seqs < 1 ||
      options.max_num_batched_tokens < 1 || options.block_size < 1 ||
      options.max_steps_in_flight < 1 || options.max_queued_requests < 0 ||
      options.step_timeout <= absl::ZeroDuration()) {
    std::abort();
  }
  return 0;
}
