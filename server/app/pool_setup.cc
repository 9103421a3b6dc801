#include "server/app/pool_setup.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

// A rank that waits for a peer or its GPU gives up before the frontend does, because it can say for
// whom it waited. Never less than the start takes, where ranks are as far apart as their
// allocations.
uint32_t CollectiveTimeoutMs(const ServerOptions& options) {
  const absl::Duration timeout = std::max(options.step_timeout * 0.8, absl::Seconds(5));
  return static_cast<uint32_t>(absl::ToInt64Milliseconds(timeout));
}

worker::v1::Configure MakeConfigure(const ServerOptions& options, const CheckedModel& model) {
  worker::v1::Configure configure;
  configure.set_model_dir(std::filesystem::absolute(options.model_dir).string());
  configure.set_device(options.device);
  configure.set_dtype(model.dtype);
  configure.set_tie_word_embeddings(model.config.tie_word_embeddings);
  configure.set_checkpoint_fingerprint(model.fingerprint);
  configure.set_block_size(static_cast<uint32_t>(options.block_size));
  configure.set_max_num_seqs(static_cast<uint32_t>(options.max_num_seqs));
  configure.set_max_num_batched_tokens(static_cast<uint32_t>(options.max_num_batched_tokens));
  configure.set_max_model_len(static_cast<uint32_t>(model.max_model_len));
  configure.set_kv_cache_bytes(options.kv_cache_memory);
  configure.set_gpu_memory_utilization(options.gpu_memory_utilization);
  configure.set_enforce_eager(options.enforce_eager);
  configure.set_num_threads(static_cast<uint32_t>(options.threads_per_rank));
  configure.set_collective_timeout_ms(CollectiveTimeoutMs(options));
  if (options.profile_dir.empty()) return configure;
  configure.set_profile_dir(std::filesystem::absolute(options.profile_dir).string());
  for (const ServerOptions::StepRange& range : options.profiles) {
    worker::v1::StepRange& profile = *configure.add_profiles();
    profile.set_first_step(static_cast<uint64_t>(range.first));
    profile.set_num_steps(static_cast<uint64_t>(range.count));
  }
  return configure;
}

}  // namespace

absl::StatusOr<PoolOptions> MakePoolOptions(const ServerOptions& options, const CheckedModel& model,
                                            const PoolSurroundings& surroundings) {
  PoolOptions pool;
  pool.world_size = static_cast<uint32_t>(options.tensor_parallel_size);
  pool.configure = MakeConfigure(options, model);
  pool.external_workers = options.external_workers;
  pool.listen_address = options.worker_listen;
  // The pool's own workers get a token that nobody else has.
  if (options.external_workers) pool.token = surroundings.token;
  pool.worker_binary = surroundings.worker_binary;
  pool.pin_cores = options.pin_cores;
  pool.configure.set_has_own_cores(options.pin_cores);
  pool.step_timeout = options.step_timeout;
  pool.start_timeout = options.start_timeout;
  // External workers know their own machine's cores.
  if (!options.external_workers && options.threads_per_rank == 0) {
    const int threads = surroundings.num_available_cores / options.tensor_parallel_size;
    pool.configure.set_num_threads(static_cast<uint32_t>(std::max(1, threads)));
  }
  const uint64_t num_threads = uint64_t{pool.configure.num_threads()} * pool.world_size;
  if (pool.pin_cores && num_threads > static_cast<uint64_t>(surroundings.num_allowed_cores)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--pin-cores: ", pool.world_size, " ranks of ", pool.configure.num_threads(),
                     " threads outnumber the ", surroundings.num_allowed_cores,
                     " cores; lower --threads-per-rank or leave --pin-cores out"));
  }
  return pool;
}

absl::StatusOr<std::filesystem::path> FindWorkerBinary(const std::filesystem::path& own_program) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink(own_program, error);
  if (error) {
    return absl::NotFoundError(absl::StrCat(
        "cannot read ", own_program.string(), ", which says where lockstep-server and the worker ",
        "program beside it are: ", error.message(), "; mount /proc"));
  }
  const std::filesystem::path binary = self.parent_path() / "lockstep-worker";
  if (access(binary.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("no worker program at ", binary.string(),
                                            ": install lockstep-worker beside lockstep-server"));
  }
  return binary;
}

}  // namespace lockstep::server
