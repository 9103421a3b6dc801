// lockstep-server: its parts, put together, from start to end.
#ifndef LOCKSTEP_SERVER_APP_SERVER_APP_H_
#define LOCKSTEP_SERVER_APP_SERVER_APP_H_

#include <prometheus/registry.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/admission/served_model.h"
#include "server/app/checked_model.h"
#include "server/app/exit_status.h"
#include "server/app/process_events.h"
#include "server/config/server_options.h"
#include "server/engine/engine_loop.h"
#include "server/metrics/engine_metrics.h"
#include "server/metrics/metrics_server.h"
#include "server/metrics/request_metrics.h"
#include "server/metrics/state_collector.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/request_log.h"
#include "server/text/text_model.h"
#include "server/worker_pool/grpc_worker_pool.h"

namespace lockstep::server {

// Start, Run, destroy, all from one thread.
class ServerApp {
 public:
  // `events` outlives this.
  ServerApp(ServerOptions options, CheckedModel model, PoolOptions pool_options,
            ProcessEvents& events);
  // Ends the workers at once, if Run has not.
  ~ServerApp();
  ServerApp(const ServerApp&) = delete;
  ServerApp& operator=(const ServerApp&) = delete;

  // Starts the workers, reads the tokenizer meanwhile, and opens the ports: clients can see the
  // workers load.
  absl::Status Start();

  // Serves until a signal comes or the pool fails, and winds up within a bounded time.
  ExitStatus Run();

 private:
  // Tells the engine and the main thread.
  class PoolEvents final : public WorkerPoolListener {
   public:
    PoolEvents(EngineLoop& engine, ProcessEvents& events) : engine_(engine), events_(events) {}
    void OnReady(const PoolCapacity& capacity) override;
    void OnStepResult(StepResult result) override;
    void OnFailed(const absl::Status& status) override;

   private:
    EngineLoop& engine_;
    ProcessEvents& events_;
  };

  // The metrics, and a line in the log for what concerns a single request.
  class EngineEvents final : public EngineMetrics {
   public:
    using EngineMetrics::EngineMetrics;
    void OnPreempted(const std::string& request_id, int32_t num_tokens_lost) override {
      LogPreemption(request_id, num_tokens_lost);
    }
  };

  EngineOptions MakeEngineOptions();
  absl::Status LoadText();
  absl::Status OpenPorts();
  void Announce();
  // A signal came: lets what runs finish within the grace period.
  ExitStatus Drain();
  // Requests that the engine has, or whose clients do not have everything yet.
  int64_t NumUnfinished() const;
  ExitStatus WindUpAfterFailure();
  // Ends what still runs, closes the ports once streams have had `flush` to get their last messages
  // out, and ends the workers.
  void WindUp(absl::Duration flush, absl::Duration worker_patience);

  const ServerOptions options_;
  const CheckedModel model_;
  ProcessEvents& events_;

  prometheus::Registry registry_;
  RequestMetrics request_metrics_;
  EngineEvents engine_events_;
  EngineLoop engine_;
  PoolEvents pool_events_;
  GrpcWorkerPool pool_;
  StateCollector state_collector_;
  std::unique_ptr<TextModel> text_;
  ServedModel served_model_;
  std::unique_ptr<GrpcServer> grpc_server_;
  std::unique_ptr<MetricsServer> metrics_server_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_APP_SERVER_APP_H_
