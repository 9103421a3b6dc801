#include "tests/benchmarks/simulation/report.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace lockstep::simulation {
namespace {

using Json = nlohmann::ordered_json;

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

double Share(absl::Duration part, absl::Duration whole) {
  return Ratio(absl::ToDoubleSeconds(part), absl::ToDoubleSeconds(whole));
}

int64_t NumOffered(const Measurements::Summary& requests) {
  return requests.completed + requests.refused + requests.deadline_exceeded + requests.cancelled +
         requests.failed;
}

Json ToJson(const Percentiles& values) {
  return {{"mean", values.mean},
          {"p50", values.p50},
          {"p90", values.p90},
          {"p99", values.p99},
          {"max", values.max}};
}

std::string Line(const char* name, const Percentiles& values) {
  return absl::StrFormat("  %-26s %9.3f %9.3f %9.3f %9.3f %9.3f\n", name, values.mean, values.p50,
                         values.p90, values.p99, values.max);
}

}  // namespace

std::string ToJson(const SimulationOptions& options, const SimulationResult& result) {
  const Measurements::Summary& requests = result.requests;
  const double seconds = absl::ToDoubleSeconds(result.simulated);
  Json json;
  json["profile"] = options.profile.name;
  json["request_rate"] = options.workload.request_rate;
  json["options"] = {{"max_num_seqs", options.scheduler.max_num_seqs},
                     {"max_num_batched_tokens", options.scheduler.max_num_batched_tokens},
                     {"block_size", options.scheduler.block_size},
                     {"max_steps_in_flight", options.scheduler.max_steps_in_flight},
                     {"enable_prefix_caching", options.scheduler.enable_prefix_caching},
                     {"max_queued_requests", options.scheduler.max_queued_requests}};
  json["requests"] = {{"offered", NumOffered(requests)},
                      {"completed", requests.completed},
                      {"refused", requests.refused},
                      {"deadline_exceeded", requests.deadline_exceeded},
                      {"cancelled", requests.cancelled},
                      {"failed", requests.failed},
                      {"within_objective", requests.within_objective}};
  json["simulated_seconds"] = seconds;
  json["scheduling_seconds"] = absl::ToDoubleSeconds(result.scheduling);
  json["utilization"] = Share(result.busy, result.simulated);
  json["starved"] = Share(result.starved, result.simulated);
  json["steps"] = result.num_steps;
  json["rows_per_step"] =
      Ratio(static_cast<double>(result.num_rows), static_cast<double>(result.num_steps));
  json["prompt_tokens_per_second"] = Ratio(static_cast<double>(result.num_prompt_tokens), seconds);
  json["generated_tokens_per_second"] =
      Ratio(static_cast<double>(result.num_generated_tokens), seconds);
  json["cached_tokens_per_second"] = Ratio(static_cast<double>(result.num_cached_tokens), seconds);
  json["preemptions"] = result.num_preemptions;
  json["mean_kv_use"] = result.mean_kv_use;
  json["fairness_over_tenants"] = requests.fairness_over_tenants;
  json["queue"] = ToJson(requests.queue);
  json["ttft"] = ToJson(requests.ttft);
  json["tpot"] = ToJson(requests.tpot);
  json["e2e"] = ToJson(requests.e2e);
  for (size_t i = 0; i < 3; ++i) {
    json["queue_by_priority"].push_back(ToJson(requests.queue_by_priority[i]));
    json["queue_by_prompt_length"].push_back(ToJson(requests.queue_by_length[i]));
  }
  return json.dump(2);
}

std::string ToText(const SimulationOptions& options, const SimulationResult& result) {
  const Measurements::Summary& requests = result.requests;
  const double seconds = absl::ToDoubleSeconds(result.simulated);
  const auto offered = static_cast<double>(NumOffered(requests));
  std::string text = absl::StrFormat(
      "%d requests at %g per second on %s: %.1f h of simulated time, %.1f s in the scheduler\n"
      "  completed %d, refused %d, past their deadline %d, cancelled %d, failed %d\n"
      "  within the objective       %8.1f %% of those offered\n",
      NumOffered(requests), options.workload.request_rate, options.profile.name, seconds / 3600,
      absl::ToDoubleSeconds(result.scheduling), requests.completed, requests.refused,
      requests.deadline_exceeded, requests.cancelled, requests.failed,
      100 * Ratio(static_cast<double>(requests.within_objective), offered));
  absl::StrAppendFormat(
      &text,
      "  workers busy               %8.1f %%, waiting for a plan on its way %.2f %%\n"
      "  steps                      %8d, of %.1f rows\n"
      "  tokens per second          %8.0f generated, %.0f of prompts, %.0f of these from the "
      "cache\n"
      "  preemptions                %8d, KV cache in use %.1f %% on average\n"
      "  fairness over tenants      %8.4f (Jain's index of the mean slowdown)\n\n"
      "  seconds                         mean       p50       p90       p99       max\n",
      100 * Share(result.busy, result.simulated), 100 * Share(result.starved, result.simulated),
      result.num_steps,
      Ratio(static_cast<double>(result.num_rows), static_cast<double>(result.num_steps)),
      Ratio(static_cast<double>(result.num_generated_tokens), seconds),
      Ratio(static_cast<double>(result.num_prompt_tokens), seconds),
      Ratio(static_cast<double>(result.num_cached_tokens), seconds), result.num_preemptions,
      100 * result.mean_kv_use, requests.fairness_over_tenants);
  text += Line("queue", requests.queue) + Line("time to first token", requests.ttft) +
          Line("per output token", requests.tpot) + Line("end to end", requests.e2e) +
          Line("queue, priority -1", requests.queue_by_priority[0]) +
          Line("queue, priority 0", requests.queue_by_priority[1]) +
          Line("queue, priority 1", requests.queue_by_priority[2]) +
          Line("queue, prompt <= 512", requests.queue_by_length[0]) +
          Line("queue, prompt <= 2048", requests.queue_by_length[1]) +
          Line("queue, prompt > 2048", requests.queue_by_length[2]);
  return text;
}

}  // namespace lockstep::simulation
