// The server's configuration: parsed and validated once, at the door, then immutable.
#ifndef LOCKSTEP_SERVER_CONFIG_SERVER_OPTIONS_H_
#define LOCKSTEP_SERVER_CONFIG_SERVER_OPTIONS_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace lockstep::server {

// Where external workers dial unless --worker-listen says otherwise.
inline constexpr char kDefaultWorkerListen[] = "127.0.0.1:50052";

// Tokens of a step on GPUs: where the matrix products of the larger models reach their best rate,
// and a step still takes less than 50 ms (docs/gpu/README.md).
inline constexpr int kMaxNumBatchedTokensOnGpus = 2048;

struct ServerOptions {
  std::filesystem::path model_dir;
  // Requests may name it; default: the directory's name.
  std::string served_model_name;
  int tensor_parallel_size = 1;
  std::string device = "cpu";  // cpu, cuda
  bool enforce_eager = false;  // no recorded graphs
  std::string dtype = "auto";  // auto (config.json's, else as stored), float32, bfloat16, float16
  int threads_per_rank = 0;    // 0: the machine's cores divided by the ranks, at least 1
  // Each rank runs on its own share of the cores; not with external_workers, nor where the ranks'
  // threads outnumber the cores.
  bool pin_cores = false;

  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9400";  // empty: no metrics port

  int max_model_len = 0;              // tokens; 0: the checkpoint's max_position_embeddings
  int max_num_seqs = 256;             // running at once
  int max_num_batched_tokens = 1024;  // why: docs/benchmarks/simulation.md
  uint64_t kv_cache_memory = 0;       // bytes per rank; 0: decided at start-up
  // Of a GPU's memory, weights, work space and KV cache together; where kv_cache_memory is 0.
  double gpu_memory_utilization = 0.9;
  int block_size = 16;  // tokens per KV block
  bool enable_prefix_caching = true;
  int max_steps_in_flight = 2;
  int max_queued_requests = 1024;
  int64_t max_queued_tokens = 0;  // 0: no limit beside max_queued_requests

  // Where each rank writes what its GPU did during the profiles' steps; empty: nowhere.
  std::string profile_dir;
  struct StepRange {
    int64_t first = 0;  // from 1
    int64_t count = 0;
  };
  std::vector<StepRange> profiles = {{.first = 1000, .count = 100}};  // ascending and apart

  bool external_workers = false;
  // Where external workers dial: host:port or unix:/path. Empty without external_workers: the
  // server's own workers dial a Unix socket of its own.
  std::string worker_listen;

  absl::Duration step_timeout = absl::Seconds(120);
  absl::Duration start_timeout = absl::Minutes(10);
  absl::Duration grace_period = absl::Seconds(30);
  std::string log_level = "info";
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_CONFIG_SERVER_OPTIONS_H_
