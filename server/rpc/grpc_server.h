// The public gRPC server: Inference, Admin, health and reflection on one port.
#ifndef LOCKSTEP_SERVER_RPC_GRPC_SERVER_H_
#define LOCKSTEP_SERVER_RPC_GRPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/admission/served_model.h"
#include "server/config/server_options.h"
#include "server/engine/engine.h"
#include "server/rpc/intake.h"
#include "server/rpc/request_counter.h"
#include "server/text/text_model.h"
#include "server/worker_pool/worker_pool.h"
#include "worker/checkpoint/llama_config.h"

namespace lockstep::server {

// Thread-safe.
class GrpcServer {
 public:
  // Borrowed: outlives the server.
  struct Parts {
    Engine& engine;
    const WorkerPool& pool;
    const TextModel& text;
    const ServedModel& model;
    const worker::LlamaConfig& config;
    RequestCounter& counter;
    // See ReserveRequest.
    uint64_t max_request_bytes = Intake::kMaxBytes;
  };

  // Listens on options.listen and takes calls at once: requests wait in the engine for the workers.
  // Health says NOT_SERVING until SetServing(true). INVALID_ARGUMENT or UNAVAILABLE, naming the
  // address and the reason, if it cannot be listened on. `dtype` is the one that the model computes
  // in.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const ServerOptions& options,
                                                           const Parts& parts,
                                                           const std::string& dtype);

  // As Shutdown(now), where that has not been called.
  ~GrpcServer();

  // Open files that are left to others than clients: workers attach while clients are let in.
  static uint64_t NumReservedFiles(int num_ranks);

  // host:port, with the port that was chosen where options.listen says 0.
  const std::string& address() const;
  uint16_t port() const;

  // What health says of "" and "lockstep.v1.Inference". Without effect after Drain or Shutdown,
  // which say NOT_SERVING for good.
  void SetServing(bool serving);

  // What health says now.
  bool serving() const;

  // Generate, GenerateStream and Forward calls that came before Drain and whose clients do not have
  // everything yet.
  int64_t num_open_calls() const;

  // Health NOT_SERVING, and no new requests; those alive go on. What Admin.Drain does too.
  void Drain();

  // Drains, takes no more calls, waits for those under way, and cancels what is left at the
  // deadline. Returns when every call has ended. An engine that has been stopped before has told
  // every request why; with one that runs, calls end with what they get until the deadline. To be
  // called once, or not at all.
  void Shutdown(absl::Time deadline);

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_GRPC_SERVER_H_
