// How requests ended, as Prometheus counters.
#ifndef LOCKSTEP_SERVER_METRICS_REQUEST_METRICS_H_
#define LOCKSTEP_SERVER_METRICS_REQUEST_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/registry.h>

#include "server/rpc/request_counter.h"

namespace lockstep::server {

// Registers its families at construction: see docs/METRICS.md. Borrows the registry.
class RequestMetrics final : public RequestCounter {
 public:
  explicit RequestMetrics(prometheus::Registry& registry);

  void CountSuccess(v1::FinishReason reason) override;
  void CountFailure(absl::StatusCode code) override;

 private:
  prometheus::Family<prometheus::Counter>& successes_;
  prometheus::Family<prometheus::Counter>& failures_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_METRICS_REQUEST_METRICS_H_
