// An engine and a pool that only have a state.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_METRICS_IDLE_ENGINE_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_METRICS_IDLE_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "server/engine/engine.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

class IdleEngine : public Engine {
 public:
  std::vector<RequestHandle> SubmitBatch(std::vector<Submission>) override { return {}; }
  absl::Status CheckOpen() const override { return absl::OkStatus(); }
  void Finish(RequestHandle, v1::FinishReason, absl::Status, absl::Time) override {}
  void Drain() override {}
  EngineSnapshot Snapshot() const override { return snapshot; }

  EngineSnapshot snapshot;
};

class IdlePool : public WorkerPool {
 public:
  void Submit(const worker::v1::StepPlan&) override {}
  void SubmitMasks(const worker::v1::TokenMasks&) override {}
  std::vector<v1::RankInfo> Ranks() const override { return ranks; }
  v1::PoolState State() const override { return state; }

  std::vector<v1::RankInfo> ranks;
  v1::PoolState state = v1::POOL_STATE_READY;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_METRICS_IDLE_ENGINE_H_
