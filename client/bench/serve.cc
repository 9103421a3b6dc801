// lockstep bench serve: what a load of requests gets from a server.
#include <fstream>
#include <iostream>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench/load.h"
#include "client/bench/report.h"
#include "client/bench/summary.h"
#include "client/bench/workload.h"
#include "client/command.h"
#include "client/connection.h"
#include "client/terminal_line.h"

namespace lockstep::client {
namespace {

constexpr size_t kDefaultNumPrompts = 100;
// Of rates, and of their burstiness.
constexpr double kLowest = 1e-3, kHighest = 1e6;

struct ServeOptions {
  std::optional<double> request_rate;
  double burstiness = 1;
  std::vector<uint32_t> max_concurrency;
  std::string trace;
  std::optional<size_t> num_prompts;
  LengthOptions lengths;
  float temperature = 0;
  bool stop_at_eos = false;
  uint64_t seed = 1;
  std::string goodput, output, chart;
};

// A bar that redraws itself on a terminal, a line every few seconds elsewhere.
class ProgressBar {
 public:
  void Show(const LoadProgress& progress) {
    if (!line_.is_terminal() && progress.seconds < next_line_) return;
    next_line_ = progress.seconds + 5;
    constexpr int kBarWidth = 30;
    const int filled =
        static_cast<int>(kBarWidth * progress.num_done / std::max<size_t>(progress.num_total, 1));
    // The bar last: on a narrow terminal it is what gets lost.
    const std::string text = absl::StrFormat(
        "%d of %d done, %d under way, %.0f tokens/s [%s%s]", progress.num_done, progress.num_total,
        progress.num_sent - progress.num_done,
        progress.seconds > 0 ? static_cast<double>(progress.output_tokens) / progress.seconds : 0,
        std::string(filled, '#'), std::string(kBarWidth - filled, ' '));
    line_.Show(text);
    if (!line_.is_terminal()) std::cerr << text << std::endl;
  }

 private:
  TerminalLine line_;
  double next_line_ = 5;
};

int Usage(absl::string_view problem) {
  std::cerr << "error: " << problem << "\n";
  return kExitUsage;
}

absl::StatusOr<std::vector<PlannedRequest>> MakePlan(const ServeOptions& options) {
  if (options.trace.empty()) {
    return PlanRequests(options.num_prompts.value_or(kDefaultNumPrompts), options.lengths,
                        {options.request_rate.value_or(0), options.burstiness}, options.seed);
  }
  std::ifstream file(options.trace);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", options.trace));
  auto plan = ReadTrace(file, options.trace);
  if (plan.ok()) plan->resize(std::min(plan->size(), options.num_prompts.value_or(plan->size())));
  return plan;
}

absl::Status CheckLengths(const std::vector<PlannedRequest>& plan, uint32_t max_model_len) {
  for (size_t i = 0; i < plan.size(); ++i) {
    const uint64_t tokens = uint64_t{plan[i].input_tokens} + plan[i].output_tokens;
    if (tokens > max_model_len) {
      return absl::InvalidArgumentError(absl::StrCat(
          "request ", i + 1, " has ", plan[i].input_tokens, " tokens in and ",
          plan[i].output_tokens, " out; the server's limit is ", max_model_len,
          " together: lower --random-input-len or --random-output-len, or shorten the trace"));
    }
  }
  return absl::OkStatus();
}

std::string NameOf(const ServeOptions& options, uint32_t concurrency) {
  std::string name = options.trace;
  if (options.request_rate.has_value()) {
    name = absl::StrCat(*options.request_rate, " requests/s");
  } else if (name.empty() && concurrency == 0) {
    name = "all at once";
  }
  if (concurrency > 0) {
    absl::StrAppend(&name, name.empty() ? "" : ", ", "concurrency ", concurrency);
  }
  return name;
}

bool WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path);
  file << content;
  file.close();
  if (!file) std::cerr << "error: cannot write " << path << "\n";
  return static_cast<bool>(file);
}

// To be asked before the run: its figures would be lost afterwards.
absl::Status CheckWritable(const std::string& path) {
  if (path.empty() || std::ofstream(path, std::ios::app)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("cannot write ", path));
}

// False: interrupted.
bool RunOnce(CommandContext& context, Connection& connection, const ServeOptions& options,
             std::vector<PlannedRequest> plan, LoadOptions load_options, BenchRun& run) {
  Load load(connection.inference(), std::move(plan), load_options);
  LoadResult result;
  {
    const ScopedInterrupt interrupt(context.interrupts, [&load](int) { load.Interrupt(); });
    ProgressBar bar;
    result = load.Run([&bar](const LoadProgress& progress) { bar.Show(progress); });
  }
  run.name = NameOf(options, load_options.max_concurrency);
  run.summary = Summarize(result, run.objective);
  return !result.interrupted;
}

int Report(const CommandContext& context, const ServeOptions& options,
           const std::vector<BenchRun>& runs, bool interrupted) {
  if (context.json) {
    std::cout << ReportAsJson(runs, kOneLine) << std::endl;
  } else {
    for (const BenchRun& run : runs) std::cout << ReportAsText(run) << std::endl;
  }
  bool written = options.output.empty() || WriteFile(options.output, ReportAsJson(runs, 2) + "\n");
  if (!options.chart.empty()) written &= WriteFile(options.chart, DrawLatencies(runs));
  if (interrupted) return kExitInterrupted;
  bool is_whole = written;
  // A server may refuse requests; those that it took, it has to answer.
  for (const BenchRun& run : runs) {
    is_whole &= run.summary.completed > 0 && run.summary.failed == 0;
  }
  return is_whole ? kExitOk : kExitServerError;
}

int Run(CommandContext& context, const ServeOptions& options) {
  const auto objective = ParseObjective(options.goodput);
  if (!objective.ok()) return Usage(absl::StrCat("--goodput: ", objective.status().message()));
  for (const std::string& path : {options.output, options.chart}) {
    if (const auto status = CheckWritable(path); !status.ok()) return Usage(status.message());
  }
  const auto plan = MakePlan(options);
  if (!plan.ok()) return Usage(plan.status().message());
  Connection connection(context);
  if (grpc::Status ready = connection.WaitUntilReady(); !ready.ok()) return connection.Fail(ready);
  v1::GetModelInfoResponse model;
  {
    grpc::ClientContext call;
    connection.SetDeadline(call);
    const grpc::Status status = connection.inference().GetModelInfo(&call, {}, &model);
    if (!status.ok()) return connection.Fail(status);
  }
  if (const auto fits = CheckLengths(*plan, model.max_model_len()); !fits.ok()) {
    return Usage(fits.message());
  }
  LoadOptions load{.vocab_size = model.vocab_size(),
                   .ignore_eos = !options.stop_at_eos,
                   .temperature = options.temperature,
                   .seed = options.seed,
                   .timeout = context.timeout};
  std::vector<uint32_t> concurrencies = options.max_concurrency;
  if (concurrencies.empty()) concurrencies.push_back(0);
  std::vector<BenchRun> runs;
  bool interrupted = false;
  for (uint32_t concurrency : concurrencies) {
    load.max_concurrency = concurrency;
    load.seed += 1;
    load.cache_salt =
        absl::StrCat("bench ", absl::Hex(std::random_device()()), " run ", runs.size());
    BenchRun& run = runs.emplace_back();
    run.objective = *objective;
    interrupted = !RunOnce(context, connection, options, *plan, load, run);
    if (interrupted) break;
  }
  return Report(context, options, runs, interrupted);
}

void AddArrivals(CLI::App& command, ServeOptions& options) {
  const std::string group = "Arrivals";
  CLI::Option* rate =
      command
          .add_option("--request-rate", options.request_rate,
                      "Requests per second, sent whether or not answers have come (an open loop); "
                      "default: all at once")
          ->check(CLI::Range(kLowest, kHighest))
          ->group(group);
  command
      .add_option("--burstiness", options.burstiness,
                  "With --request-rate: 1 is a Poisson process, less comes in bursts")
      ->check(CLI::Range(kLowest, kHighest))
      ->capture_default_str()
      ->needs(rate)
      ->group(group);
  command
      .add_option("--max-concurrency", options.max_concurrency,
                  "Requests under way at most; the next is sent when one has ended (a closed "
                  "loop). Several for a sweep: 1,4,16")
      ->delimiter(',')
      ->check(CLI::Range(1, 100000))
      ->group(group);
}

void AddWorkload(CLI::App& command, ServeOptions& options) {
  const std::string group = "Requests";
  CLI::Option* trace =
      command
          .add_option("--trace", options.trace,
                      "Arrivals and lengths: CSV with TIMESTAMP, ContextTokens, GeneratedTokens, "
                      "or JSON lines with timestamp, input_length or token_ids, output_length")
          ->excludes("--request-rate")
          ->group(group);
  command
      .add_option(
          "--num-prompts", options.num_prompts,
          absl::StrCat("Requests of each run; default: all of the trace, or ", kDefaultNumPrompts))
      ->check(CLI::Range(1, 10000000))
      ->group(group);
  command.add_option("--random-input-len", options.lengths.input, "Tokens of a prompt")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str()
      ->excludes(trace)
      ->group(group);
  command.add_option("--random-output-len", options.lengths.output, "Tokens of an answer")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str()
      ->excludes(trace)
      ->group(group);
  command
      .add_option("--random-range-ratio", options.lengths.range_ratio,
                  "Lengths vary by so much to both sides, in [0, 1)")
      ->check(CLI::Range(0.0, 0.999))
      ->capture_default_str()
      ->excludes(trace)
      ->group(group);
  command.add_option("--temperature", options.temperature, "0 = greedy")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--stop-at-eos", options.stop_at_eos,
                "Answers may end early; otherwise they have just the wanted lengths")
      ->group(group);
  command.add_option("--seed", options.seed, "Of lengths, arrivals and prompts")
      ->capture_default_str()
      ->group(group);
}

void AddReport(CLI::App& command, ServeOptions& options) {
  const std::string group = "Report";
  command
      .add_option("--goodput", options.goodput,
                  "Count requests within limits in ms: ttft:500,tpot:50,e2el:10000")
      ->group(group);
  command.add_option("--output", options.output, "Write the figures to this file, as JSON")
      ->group(group);
  command.add_option("--chart", options.chart, "Write a chart of the latencies to this SVG file")
      ->group(group);
}

}  // namespace

void AddBench(CLI::App& app, CommandContext& context, Command& chosen) {
  CLI::App& bench = *app.add_subcommand("bench", "Measure a server");
  bench.require_subcommand(1);
  bench.fallthrough();
  CLI::App& serve = *bench.add_subcommand("serve", "Send a load of requests and time the answers");
  auto options = std::make_shared<ServeOptions>();
  AddArrivals(serve, *options);
  AddWorkload(serve, *options);
  AddReport(serve, *options);
  serve.callback([&context, &chosen, options] {
    chosen = [&context, options] { return Run(context, *options); };
  });
}

}  // namespace lockstep::client
