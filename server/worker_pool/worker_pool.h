// The workers as the engine sees them: numbered steps go in, one agreed result per step comes out.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_WORKER_POOL_H_
#define LOCKSTEP_SERVER_WORKER_POOL_WORKER_POOL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lockstep/v1/admin.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/worker_pool/step_result.h"

namespace lockstep::server {

// What a ready pool can hold.
struct PoolCapacity {
  // The minimum over ranks.
  uint64_t num_kv_blocks = 0;
};

// Told what happens to the pool, from threads of the pool's own: calls must not block.
class WorkerPoolListener {
 public:
  virtual ~WorkerPoolListener() = default;

  // Once: every rank has loaded and passed the self-test. Steps may be submitted from now on.
  virtual void OnReady(const PoolCapacity& capacity) = 0;

  // Rank 0's result of a step, after every rank has answered it with the same state hash; in order
  // of steps.
  virtual void OnStepResult(StepResult result) = 0;

  // Once, last: a rank died, disagreed, reported a failure or missed a deadline. Names the rank and
  // the reason.
  virtual void OnFailed(const absl::Status& status) = 0;
};

// Thread-safe.
class WorkerPool {
 public:
  virtual ~WorkerPool() = default;

  // Sends a step to every rank. Steps are numbered from 1 without gaps. Never blocks; after
  // OnFailed it does nothing.
  virtual void Submit(const worker::v1::StepPlan& plan) = 0;

  // Sends the masks of a submitted step's guided rows to rank 0, which waits for them; in order of
  // steps. Never blocks; after OnFailed it does nothing.
  virtual void SubmitMasks(const worker::v1::TokenMasks& masks) = 0;

  // The state of every rank, for GetServerInfo and the metrics.
  virtual std::vector<v1::RankInfo> Ranks() const = 0;
  virtual v1::PoolState State() const = 0;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_WORKER_POOL_H_
