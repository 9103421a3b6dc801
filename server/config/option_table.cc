#include "server/config/option_table.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/config/option_values.h"

namespace lockstep::server {
namespace {

constexpr char kModel[] = "Model";
constexpr char kNetwork[] = "Network";
constexpr char kScheduling[] = "Scheduling and memory";
constexpr char kWorkers[] = "Workers";
constexpr char kLifetime[] = "Time limits and logging";

template <typename T, typename Parsed>
absl::Status Assign(absl::StatusOr<Parsed> parsed, T& member) {
  if (parsed.ok()) member = static_cast<T>(*std::move(parsed));
  return parsed.status();
}

struct Named {
  const char* name;
  const char* group;
  const char* value_name;
  const char* help;
};

template <typename T>
OptionSpec Integer(const Named& named, T ServerOptions::* member, int64_t minimum, int64_t maximum,
                   std::string default_text = "") {
  if (default_text.empty()) default_text = absl::StrCat(ServerOptions{}.*member);
  return {named.name,
          named.group,
          named.value_name,
          named.help,
          std::move(default_text),
          [=](absl::string_view value, ServerOptions& options) {
            return Assign(ParseInteger(value, minimum, maximum), options.*member);
          }};
}

// `expected` says which powers of two lie between the limits.
OptionSpec PowerOfTwo(const Named& named, int ServerOptions::* member, int64_t minimum,
                      int64_t maximum, const char* expected) {
  return {named.name,
          named.group,
          named.value_name,
          named.help,
          absl::StrCat(ServerOptions{}.*member),
          [=](absl::string_view value, ServerOptions& options) {
            const absl::StatusOr<int64_t> size = ParseInteger(value, minimum, maximum);
            if (!size.ok() || (*size & (*size - 1)) != 0) {
              return absl::InvalidArgumentError(absl::StrCat("expected ", expected));
            }
            return Assign(size, options.*member);
          }};
}

OptionSpec Duration(const Named& named, absl::Duration ServerOptions::* member,
                    absl::Duration minimum) {
  return {named.name,
          named.group,
          named.value_name,
          named.help,
          absl::FormatDuration(ServerOptions{}.*member),
          [=](absl::string_view value, ServerOptions& options) {
            return Assign(ParseDuration(value, minimum, absl::Hours(24)), options.*member);
          }};
}

OptionSpec Choice(const Named& named, std::string ServerOptions::* member,
                  std::vector<std::string> choices) {
  return {named.name,
          named.group,
          named.value_name,
          named.help,
          ServerOptions{}.*member,
          [=](absl::string_view value, ServerOptions& options) {
            return Assign(ParseChoice(value, choices), options.*member);
          }};
}

OptionSpec Switch(const Named& named, bool ServerOptions::* member) {
  return {named.name,
          named.group,
          "",
          named.help,
          "",
          [=](absl::string_view value, ServerOptions& options) {
            return Assign(ParseBool(value), options.*member);
          }};
}

template <typename Set>
OptionSpec Custom(const Named& named, std::string default_text, Set set) {
  return {named.name, named.group, named.value_name, named.help, std::move(default_text), set};
}

absl::Status SetModel(absl::string_view value, ServerOptions& options) {
  if (value.empty()) return absl::InvalidArgumentError("expected a directory");
  options.model_dir = std::string(value);
  return absl::OkStatus();
}

absl::Status SetServedModelName(absl::string_view value, ServerOptions& options) {
  if (value.empty() || std::any_of(value.begin(), value.end(), absl::ascii_iscntrl)) {
    return absl::InvalidArgumentError("expected a name without line breaks or the like");
  }
  options.served_model_name = std::string(value);
  return absl::OkStatus();
}

absl::Status SetMetricsListen(absl::string_view value, ServerOptions& options) {
  if (value == "off") {
    options.metrics_listen.clear();
    return absl::OkStatus();
  }
  absl::Status status = Assign(ParseHostPort(value), options.metrics_listen);
  return status.ok() ? status
                     : absl::InvalidArgumentError(absl::StrCat(status.message(), ", or off"));
}

absl::Status SetProfileDir(absl::string_view value, ServerOptions& options) {
  if (value.empty()) return absl::InvalidArgumentError("expected a directory");
  options.profile_dir = std::string(value);
  return absl::OkStatus();
}

absl::Status SetProfileSteps(absl::string_view value, ServerOptions& options) {
  options.profiles.clear();
  int64_t end = 1;  // of the range before
  for (const absl::string_view part : absl::StrSplit(value, ',')) {
    const std::pair<absl::string_view, absl::string_view> texts = absl::StrSplit(part, ':');
    const absl::StatusOr<int64_t> first = ParseInteger(texts.first, end, int64_t{1} << 40);
    const absl::StatusOr<int64_t> count = ParseInteger(texts.second, 1, 10'000);
    if (!first.ok() || !count.ok()) {
      return absl::InvalidArgumentError(
          "expected FIRST:COUNT,... with each FIRST behind the range before, and COUNT from 1 to "
          "10000");
    }
    options.profiles.push_back({.first = *first, .count = *count});
    end = *first + *count + 1;
  }
  return absl::OkStatus();
}

std::vector<OptionSpec> ModelOptions() {
  return {
      Custom({"model", kModel, "DIR", "Hugging Face directory of a LlamaForCausalLM checkpoint"},
             "", SetModel),
      Custom({"served-model-name", kModel, "NAME", "Name that requests may give"},
             "the directory's name", SetServedModelName),
      Choice({"dtype", kModel, "TYPE",
              "Type of weights and arithmetic: auto (config.json's dtype, else as stored), "
              "float32, bfloat16, float16"},
             &ServerOptions::dtype, {"auto", "float32", "bfloat16", "float16"}),
      Integer(
          {"max-model-len", kModel, "TOKENS",
           "Longest sequence, prompt and answer together; at most the checkpoint's own limit, or "
           "what the factor of its linear, dynamic or yarn RoPE makes of it"},
          &ServerOptions::max_model_len, 1, 1 << 30, "max_position_embeddings"),
  };
}

std::vector<OptionSpec> NetworkOptions() {
  return {
      Custom({"listen", kNetwork, "HOST:PORT", "gRPC address; port 0 takes any free one"},
             ServerOptions{}.listen,
             [](absl::string_view value, ServerOptions& options) {
               return Assign(ParseHostPort(value), options.listen);
             }),
      Custom({"metrics-listen", kNetwork, "HOST:PORT",
              "HTTP address of /metrics and /healthz, or off"},
             ServerOptions{}.metrics_listen, SetMetricsListen),
  };
}

std::vector<OptionSpec> SchedulingOptions() {
  return {
      Integer({"max-num-seqs", kScheduling, "N", "Sequences that run at once"},
              &ServerOptions::max_num_seqs, 1, 4096),
      Integer({"max-num-batched-tokens", kScheduling, "TOKENS",
               "Tokens of one step, decodes and prefill chunks together"},
              &ServerOptions::max_num_batched_tokens, 1, 1 << 20,
              absl::StrCat(ServerOptions{}.max_num_batched_tokens, "; on GPUs ",
                           kMaxNumBatchedTokensOnGpus)),
      Custom({"kv-cache-memory", kScheduling, "BYTES", "KV cache of each rank, such as 4GiB"},
             "from the memory that is free after loading",
             [](absl::string_view value, ServerOptions& options) {
               return Assign(ParseBytes(value), options.kv_cache_memory);
             }),
      Custom({"gpu-memory-utilization", kScheduling, "SHARE",
              "Share of each GPU's memory that weights, work space and KV cache may fill together, "
              "unless --kv-cache-memory says how large the cache is"},
             absl::StrCat(ServerOptions{}.gpu_memory_utilization),
             [](absl::string_view value, ServerOptions& options) {
               return Assign(ParseNumber(value, 0.1, 0.99), options.gpu_memory_utilization);
             }),
      PowerOfTwo({"block-size", kScheduling, "TOKENS",
                  "Tokens of one KV block, a power of two from 8 to 256"},
                 &ServerOptions::block_size, 8, 256, "a power of two from 8 to 256"),
      Custom({"enable-prefix-caching", kScheduling, "BOOL",
              "Requests that begin with the same tokens share their KV blocks: true or false"},
             "true",
             [](absl::string_view value, ServerOptions& options) {
               return Assign(ParseBool(value), options.enable_prefix_caching);
             }),
      Integer({"max-steps-in-flight", kScheduling, "N",
               "Steps that the workers may have been told of at once; 1 waits for each result"},
              &ServerOptions::max_steps_in_flight, 1, 8),
      Integer({"max-queued-requests", kScheduling, "N",
               "Requests that may wait; more are refused with RESOURCE_EXHAUSTED"},
              &ServerOptions::max_queued_requests, 1, 1 << 24),
      Integer({"max-queued-tokens", kScheduling, "TOKENS",
               "Prompt tokens that may wait; 0 for no limit beside --max-queued-requests"},
              &ServerOptions::max_queued_tokens, 0, int64_t{1} << 40),
  };
}

std::vector<OptionSpec> WorkerOptions() {
  return {
      PowerOfTwo({"tensor-parallel-size", kWorkers, "N",
                  "Worker processes that the model is split over: 1, 2, 4 or 8"},
                 &ServerOptions::tensor_parallel_size, 1, 8, "1, 2, 4 or 8"),
      Choice({"device", kWorkers, "DEVICE",
              "cpu or cuda (NVIDIA GPUs, one for each rank); cuda needs workers built for it"},
             &ServerOptions::device, {"cpu", "cuda"}),
      Switch({"enforce-eager", kWorkers, "",
              "On GPUs, start every kernel by itself instead of replaying recorded graphs: slower, "
              "for finding faults"},
             &ServerOptions::enforce_eager),
      Custom({"profile-dir", kWorkers, "DIR",
              "On GPUs, write what the GPU did during some steps, as a trace for Perfetto or "
              "chrome://tracing, to DIR/rank-R-step-N.json"},
             "", SetProfileDir),
      Custom({"profile-steps", kWorkers, "FIRST:COUNT,...",
              "The steps that --profile-dir is about, counted from 1"},
             "1000:100", SetProfileSteps),
      Integer({"threads-per-rank", kWorkers, "N", "CPU threads of each worker"},
              &ServerOptions::threads_per_rank, 1, 1024, "the cores divided by the ranks"),
      Switch({"pin-cores", kWorkers, "",
              "Run each worker on its own share of the cores, where the ranks' threads do not "
              "outnumber them"},
             &ServerOptions::pin_cores),
      Switch({"external-workers", kWorkers, "",
              "Start no workers: wait for lockstep-worker processes started by others. Set "
              "LOCKSTEP_POOL_TOKEN to the same secret for them and the server"},
             &ServerOptions::external_workers),
      Custom({"worker-listen", kWorkers, "ADDRESS",
              "Where external workers dial, HOST:PORT or unix:/path; only with --external-workers"},
             kDefaultWorkerListen,
             [](absl::string_view value, ServerOptions& options) {
               return Assign(ParseLinkAddress(value), options.worker_listen);
             }),
  };
}

std::vector<OptionSpec> LifetimeOptions() {
  return {
      Duration({"step-timeout", kLifetime, "DURATION",
                "A step that a rank has not answered for this long fails the pool"},
               &ServerOptions::step_timeout, absl::Milliseconds(100)),
      Duration({"start-timeout", kLifetime, "DURATION",
                "Workers that are not ready after this long fail the pool"},
               &ServerOptions::start_timeout, absl::Seconds(1)),
      Duration({"grace-period", kLifetime, "DURATION",
                "After SIGTERM, running streams may go on for this long"},
               &ServerOptions::grace_period, absl::ZeroDuration()),
      Choice({"log-level", kLifetime, "LEVEL", "debug, info, warn or error"},
             &ServerOptions::log_level, {"debug", "info", "warn", "error"}),
  };
}

}  // namespace

const std::vector<OptionSpec>& ServerOptionTable() {
  static const auto* const table = [] {
    auto* all = new std::vector<OptionSpec>();
    for (auto* part :
         {&ModelOptions, &NetworkOptions, &SchedulingOptions, &WorkerOptions, &LifetimeOptions}) {
      for (OptionSpec& spec : part()) all->push_back(std::move(spec));
    }
    return all;
  }();
  return *table;
}

}  // namespace lockstep::server
