// The pool: worker processes, the links that they dial, and the protocol between them.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_GRPC_WORKER_POOL_H_
#define LOCKSTEP_SERVER_WORKER_POOL_GRPC_WORKER_POOL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/worker_pool/pool_options.h"
#include "server/worker_pool/worker_pool.h"

namespace lockstep::server {

// Construct, Start, use, Shutdown. One start in a lifetime: a pool that failed is replaced by a new
// one.
//
// No worker of the pool's own outlives this object or this process: when the process dies, however
// it does, the workers see the end of a pipe that it held.
class GrpcWorkerPool : public WorkerPool {
 public:
  explicit GrpcWorkerPool(PoolOptions options);
  // Shutdown(2 s), where that has not been called.
  ~GrpcWorkerPool() override;
  GrpcWorkerPool(const GrpcWorkerPool&) = delete;
  GrpcWorkerPool& operator=(const GrpcWorkerPool&) = delete;

  // Opens the link and starts the workers; returns at once, the listener hears the rest. `listener`
  // outlives Shutdown. INVALID_ARGUMENT, UNAVAILABLE: the address or the worker program cannot be
  // used; nothing is left running then.
  absl::Status Start(WorkerPoolListener& listener);

  // Where workers dial, with the port that was bound. After Start.
  const std::string& address() const;

  // Ends the workers: asks them, and kills those that are still there at the deadline. The listener
  // hears nothing more once this has returned. Takes little longer than `patience`, whatever the
  // workers do.
  void Shutdown(absl::Duration patience);

  void Submit(const worker::v1::StepPlan& plan) override;
  void SubmitMasks(const worker::v1::TokenMasks& masks) override;
  std::vector<v1::RankInfo> Ranks() const override;
  v1::PoolState State() const override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_GRPC_WORKER_POOL_H_
