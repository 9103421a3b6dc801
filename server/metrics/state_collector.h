// Gauges and counters that are read when somebody asks, instead of being kept up to date.
#ifndef LOCKSTEP_SERVER_METRICS_STATE_COLLECTOR_H_
#define LOCKSTEP_SERVER_METRICS_STATE_COLLECTOR_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

// Thread-safe. Borrows both.
class StateCollector final : public prometheus::Collectable {
 public:
  StateCollector(const Engine& engine, const WorkerPool& pool, std::string version)
      : engine_(engine), pool_(pool), version_(std::move(version)) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Engine& engine_;
  const WorkerPool& pool_;
  const std::string version_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_METRICS_STATE_COLLECTOR_H_
