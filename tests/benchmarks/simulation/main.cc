// lockstep-simulate: the scheduler against a modelled pool, in simulated time. See --help.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/benchmarks/simulation/report.h"
#include "tests/benchmarks/simulation/simulation.h"

namespace {

using namespace lockstep::simulation;  // NOLINT: this program is made of it

int Run(SimulationOptions options, bool json) {
  const auto progress = [&](int64_t num_arrived) {
    std::fprintf(stderr, "\r%lld of %lld requests have arrived",
                 static_cast<long long>(num_arrived),
                 static_cast<long long>(options.workload.num_requests));
  };
  const auto result = Simulate(options, progress);
  std::fprintf(stderr, "\r%50s\r", "");
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", (json ? ToJson(options, *result) : ToText(options, *result)).c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  SimulationOptions options;
  options.scheduler.max_model_len = options.workload.max_model_len;
  std::string profile_name = PoolProfiles().front().name;
  std::vector<std::string> names;
  for (const PoolProfile& profile : PoolProfiles()) names.push_back(profile.name);
  double rate = 0;
  bool json = false;

  CLI::App app("Runs the scheduler against a modelled pool of workers, in simulated time.");
  app.add_option("--profile", profile_name, "The pool")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("--num-requests", options.workload.num_requests)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--request-rate", rate, "Per second; default: the profile's")
      ->check(CLI::PositiveNumber);
  app.add_option("--burst-shape", options.workload.burst_shape,
                 "1: a Poisson process; lower: bursts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", options.workload.seed)->capture_default_str();
  app.add_option("--max-num-seqs", options.scheduler.max_num_seqs)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-num-batched-tokens", options.scheduler.max_num_batched_tokens)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--block-size", options.scheduler.block_size)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-steps-in-flight", options.scheduler.max_steps_in_flight)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-queued-requests", options.scheduler.max_queued_requests)
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--enable-prefix-caching", options.scheduler.enable_prefix_caching)
      ->capture_default_str();
  app.add_flag("--json", json, "Machine-readable output");
  CLI11_PARSE(app, argc, argv);

  for (const PoolProfile& profile : PoolProfiles()) {
    if (profile.name == profile_name) options.profile = profile;
  }
  options.workload.request_rate = rate > 0 ? rate : options.profile.default_rate;
  return Run(std::move(options), json);
}
