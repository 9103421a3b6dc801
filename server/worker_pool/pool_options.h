// What a pool of workers is started with.
#ifndef LOCKSTEP_SERVER_WORKER_POOL_POOL_OPTIONS_H_
#define LOCKSTEP_SERVER_WORKER_POOL_POOL_OPTIONS_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "lockstep/worker/v1/control_link.pb.h"

namespace lockstep::server {

struct PoolOptions {
  uint32_t world_size = 1;
  // Sent to every rank; the pool fills in communicator_id.
  worker::v1::Configure configure;

  // Workers are started by others and dial `listen_address`.
  bool external_workers = false;
  // host:port or unix:/path. Empty: a Unix socket in a private directory, gone once every rank has
  // dialled it.
  std::string listen_address;
  // What workers must present. Empty: with external workers none is asked for; otherwise a random
  // one is made.
  std::string token;

  // The program of the pool's own workers, and arguments for it before --rank, --world-size and
  // --frontend.
  std::filesystem::path worker_binary;
  std::vector<std::string> worker_arguments;
  // Rank r runs on cores [r * num_threads, (r + 1) * num_threads) of those that this process may
  // use.
  bool pin_cores = false;

  absl::Duration step_timeout = absl::Seconds(120);
  absl::Duration start_timeout = absl::Minutes(10);
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_WORKER_POOL_POOL_OPTIONS_H_
