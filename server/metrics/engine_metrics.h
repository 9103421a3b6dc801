// What the engine does, as Prometheus counters and histograms.
#ifndef LOCKSTEP_SERVER_METRICS_ENGINE_METRICS_H_
#define LOCKSTEP_SERVER_METRICS_ENGINE_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "server/engine/engine_observer.h"

namespace lockstep::server {

// Registers its families at construction. Names, units and meanings are in docs/METRICS.md. Borrows
// the registry.
class EngineMetrics : public EngineObserver {
 public:
  explicit EngineMetrics(prometheus::Registry& registry);

  void OnStepDone(const StepSummary& step) override;
  void OnToken(bool first, absl::Duration elapsed) override;
  void OnRequestDone(const EngineRequest& request, const Completion& completion,
                     absl::Time now) override;
  void OnCancelFreed(absl::Duration elapsed) override;

 private:
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& request_latency_;
  prometheus::Histogram& queue_time_;
  prometheus::Histogram& prefill_time_;
  prometheus::Histogram& decode_time_;
  prometheus::Histogram& prompt_tokens_;
  prometheus::Histogram& generation_tokens_;
  prometheus::Histogram& step_tokens_;
  prometheus::Family<prometheus::Histogram>& step_duration_;
  prometheus::Histogram& prefill_step_;
  prometheus::Histogram& decode_step_;
  prometheus::Histogram& mixed_step_;
  prometheus::Histogram& cancel_to_free_;
  prometheus::Counter& recomputed_tokens_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_METRICS_ENGINE_METRICS_H_
