#include "server/metrics/state_collector.h"

#include <utility>

namespace lockstep::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

MetricFamily Gauge(const char* name, const char* help, double value) {
  MetricFamily family = Family(name, help, MetricType::Gauge);
  family.metric.emplace_back();
  family.metric.back().gauge.value = value;
  return family;
}

MetricFamily Counter(const char* name, const char* help, uint64_t value) {
  MetricFamily family = Family(name, help, MetricType::Counter);
  family.metric.emplace_back();
  family.metric.back().counter.value = static_cast<double>(value);
  return family;
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

MetricFamily StepAges(const std::vector<v1::RankInfo>& ranks) {
  MetricFamily family = Family(
      "lockstep_rank_step_age_seconds",
      "Since this rank was last heard of; grows while there is nothing to do.", MetricType::Gauge);
  for (const auto& rank : ranks) {
    ClientMetric metric;
    metric.label.push_back({"rank", std::to_string(rank.rank())});
    metric.gauge.value = Seconds(rank.step_age());
    family.metric.push_back(std::move(metric));
  }
  return family;
}

MetricFamily StartPhases(const std::vector<v1::RankInfo>& ranks) {
  MetricFamily family =
      Family("lockstep_startup_phase_seconds",
             "What this phase of the rank's start took; once it is ready.", MetricType::Gauge);
  for (const auto& rank : ranks) {
    for (const v1::StartPhase& phase : rank.start_phases()) {
      ClientMetric metric;
      metric.label.push_back({"phase", phase.name()});
      metric.label.push_back({"rank", std::to_string(rank.rank())});
      metric.gauge.value = Seconds(phase.duration());
      family.metric.push_back(std::move(metric));
    }
  }
  return family;
}

MetricFamily BuildInfo(const std::string& version) {
  MetricFamily family = Gauge("lockstep_build_info", "1; the label names the server's version.", 1);
  family.metric.back().label.push_back({"version", version});
  return family;
}

}  // namespace

std::vector<MetricFamily> StateCollector::Collect() const {
  const EngineSnapshot now = engine_.Snapshot();
  const double usage = now.kv_blocks_total == 0 ? 0
                                                : static_cast<double>(now.kv_blocks_used) /
                                                      static_cast<double>(now.kv_blocks_total);
  std::vector<MetricFamily> families;
  families.push_back(BuildInfo(version_));
  families.push_back(Gauge("lockstep_pool_ready", "1 if every rank is ready, else 0.",
                           pool_.State() == v1::POOL_STATE_READY ? 1 : 0));
  families.push_back(Gauge("lockstep_requests_running", "Requests that have a slot.",
                           static_cast<double>(now.num_running)));
  families.push_back(Gauge("lockstep_requests_waiting",
                           "Requests in the queue, preempted ones included.",
                           static_cast<double>(now.num_waiting)));
  families.push_back(Gauge("lockstep_waiting_tokens", "Tokens of the requests in the queue.",
                           static_cast<double>(now.num_waiting_tokens)));
  families.push_back(
      Gauge("lockstep_kv_cache_usage_ratio", "KV blocks in use, of all; 1 is full.", usage));
  families.push_back(Gauge("lockstep_kv_cache_blocks", "KV blocks of the pool.",
                           static_cast<double>(now.kv_blocks_total)));
  families.push_back(Counter("lockstep_prompt_tokens_total",
                             "Tokens of prompts that were run or cached.", now.prompt_tokens));
  families.push_back(
      Counter("lockstep_generation_tokens_total", "Tokens of answers.", now.generated_tokens));
  families.push_back(Counter("lockstep_prefix_cache_queries_total",
                             "Prompt tokens that were looked for in the prefix cache.",
                             now.prefix_cache_queries));
  families.push_back(Counter("lockstep_prefix_cache_hits_total",
                             "Prompt tokens that were found in the prefix cache.",
                             now.prefix_cache_hits));
  families.push_back(Counter("lockstep_preemptions_total",
                             "Requests that lost their KV blocks to others and were run again.",
                             now.preemptions));
  families.push_back(Counter("lockstep_guides_held_back_total",
                             "Guided requests that made way because their mask was late.",
                             now.held_back));
  const std::vector<v1::RankInfo> ranks = pool_.Ranks();
  families.push_back(StepAges(ranks));
  families.push_back(StartPhases(ranks));
  return families;
}

}  // namespace lockstep::server
