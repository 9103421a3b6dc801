#include "worker/runtime/model_executor.h"

#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "worker/checkpoint/fingerprint.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"
#include "worker/comm/shm_space.h"
#include "worker/kernels/isa_level.h"
#include "worker/runtime/catch_exceptions.h"
#include "worker/runtime/check_config.h"
#include "worker/runtime/kv_budget.h"
#include "worker/runtime/reference_model.h"
#include "worker/runtime/self_test.h"
#include "worker/runtime/weight_budget.h"

namespace lockstep::worker {
namespace {

constexpr int64_t kMaxTestTokens = 8;

// What to do when memory runs out.
constexpr char kLoadAdvice[] =
    "The weights and the largest step have to fit beside each other: raise --tensor-parallel-size, "
    "lower --max-num-batched-tokens, or take a --dtype of 16 bits.";
constexpr char kStepAdvice[] =
    "Lower --gpu-memory-utilization (or --kv-cache-memory), --max-num-seqs or "
    "--max-num-batched-tokens.";

absl::Status CheckFingerprint(const WorkerConfig& config, const LlamaConfig& llama,
                              const Checkpoint& checkpoint) {
  if (config.checkpoint_fingerprint == 0 ||
      config.checkpoint_fingerprint == Fingerprint(config.model_dir, llama, checkpoint)) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(config.model_dir,
                   " is not the checkpoint that the frontend has read: config.json or the weights "
                   "are others; give every rank's machine the same files"));
}

}  // namespace

std::unique_ptr<StepExecutor> MakeStepExecutor() { return std::make_unique<ModelExecutor>(); }

ModelExecutor::ModelExecutor(DeviceOpener open_device) : open_device_(std::move(open_device)) {}

absl::StatusOr<LoadedInfo> ModelExecutor::Load(const WorkerConfig& config, int rank, int world_size,
                                               LoadProgressCallback progress) {
  if (absl::Status status = CheckConfig(config, rank, world_size); !status.ok()) return status;
  config_ = config;
  rank_ = rank;
  world_size_ = world_size;
  // LibTorch's own threads, which the small host-side ops would otherwise start for every core.
  at::set_num_threads(static_cast<int>(config.num_threads));
  phases_.Begin("device");
  return CatchExceptions(kLoadAdvice, [&]() -> absl::StatusOr<LoadedInfo> {
    auto device =
        open_device_(config_.device, {.rank = static_cast<int>(config_.local_rank),
                                      .world_size = static_cast<int>(config_.local_world_size),
                                      .sees_the_others_gpus = config_.sees_the_others_gpus});
    if (!device.ok()) return device.status();
    device_ = *std::move(device);
    const c10::DeviceGuard guard(device_->device());
    return LoadModel(progress);
  });
}

absl::StatusOr<LoadedInfo> ModelExecutor::LoadModel(const LoadProgressCallback& progress) {
  phases_.Begin("configuration");
  const absl::StatusOr<at::ScalarType> dtype = ParseDtype(config_.dtype);
  if (!dtype.ok()) return dtype.status();
  absl::StatusOr<LlamaConfig> llama = LoadLlamaConfig(config_.model_dir);
  if (!llama.ok()) return llama.status();
  absl::Status status = CheckTensorParallel(*llama, world_size_);
  if (!status.ok()) return status;
  const absl::StatusOr<Checkpoint> checkpoint =
      Checkpoint::Open(config_.model_dir, *llama, config_.tie_word_embeddings);
  if (!checkpoint.ok()) return checkpoint.status();
  if (status = CheckFingerprint(config_, *llama, *checkpoint); !status.ok()) return status;
  KernelOptions kernel_options;
  kernel_options.num_threads = static_cast<int>(config_.num_threads);
  auto context = KernelContext::Create(kernel_options);
  if (!context.ok()) return context.status();
  context_ = *std::move(context);

  const ModelOptions options = {
      .dtype = *dtype,
      .device = device_->device(),
      .max_num_tokens = config_.max_num_batched_tokens,
      .min_logit_rows = device_->computes_beside_host() ? config_.max_num_seqs : 1};
  const ShardPlan plan = MakeShardPlan(*llama, rank_, world_size_);
  cache_geometry_ = CacheGeometry(*llama, plan, options, config_.block_size);
  LoadedInfo info;
  info.kv_block_bytes = static_cast<uint64_t>(cache_geometry_.block_bytes());
  if (status = CheckMemory(*llama, plan, *dtype); !status.ok()) return status;
  phases_.Begin("weights");
  model_ = std::make_unique<LlamaModel>(*llama, *checkpoint, plan, options, *context_, progress);
  info.weight_bytes = static_cast<uint64_t>(model_->weight_bytes());
  phases_.Begin("profile");
  const absl::StatusOr<uint64_t> num_blocks = CountKvBlocks();
  if (!num_blocks.ok()) return num_blocks.status();
  phases_.End();  // what follows is a wait for the other ranks
  info.num_kv_blocks = *num_blocks;
  info.device_description = DescribeDevice();
  if (rank_ == 0) {
    auto handle = MakeCommunicatorHandle(device_->device(), world_size_);
    if (!handle.ok()) return handle.status();
    info.communicator_handle = *std::move(handle);
  }
  return info;
}

absl::Status ModelExecutor::CheckMemory(const LlamaConfig& llama, const ShardPlan& plan,
                                        at::ScalarType dtype) const {
  const absl::StatusOr<DeviceMemory> memory = device_->Memory();
  if (!memory.ok()) return memory.status();
  const int num_ranks = device_->num_ranks();
  const absl::Status status =
      CheckWeightsFit(llama, plan, dtype,
                      {.bytes = *memory,
                       .num_ranks = num_ranks,
                       .is_shared = device_->device().is_cpu() || num_ranks > 1});
  if (!status.ok()) return status;
  return ChooseNumKvBlocks(config_, num_ranks, static_cast<uint64_t>(cache_geometry_.block_bytes()),
                           *memory, WeightBytes(llama, plan, dtype))
      .status();
}

StepLimits ModelExecutor::Limits() const {
  return {.max_num_seqs = config_.max_num_seqs,
          .max_num_batched_tokens = config_.max_num_batched_tokens,
          .max_model_len = config_.max_model_len};
}

absl::StatusOr<uint64_t> ModelExecutor::CountKvBlocks() {
  // Weights are copied on another stream than steps run on.
  if (absl::Status status = device_->Synchronize(); !status.ok()) return status;
  const c10::StreamGuard stream(device_->stream());
  inputs_ = std::make_unique<StepInputs>(
      *device_,
      StepSizes{.num_tokens = config_.max_num_batched_tokens,
                .num_sequences = config_.max_num_seqs,
                .num_logit_rows = config_.max_num_batched_tokens},
      (int64_t{config_.max_model_len} + config_.block_size - 1) / config_.block_size);
  if (device_->computes_beside_host()) {
    device_tokens_ =
        std::make_unique<DeviceTokens>(*device_, rank_,
                                       DeviceSampler::Limits{.max_rows = config_.max_num_seqs,
                                                             .vocab_size = model_->vocab_size()});
  }
  // The host gives memory out when it is first used, and what is free there is halved anyway.
  if (device_->device().is_cuda()) {
    absl::Status status =
        RunLargestStep(*model_, cache_geometry_, Limits(), rank_, world_size_, *inputs_, *device_,
                       absl::Milliseconds(config_.collective_timeout_ms));
    if (!status.ok()) return status;
  }
  const absl::StatusOr<DeviceMemory> memory = device_->Memory();
  if (!memory.ok()) return memory.status();
  return ChooseNumKvBlocks(config_, device_->num_ranks(),
                           static_cast<uint64_t>(cache_geometry_.block_bytes()), *memory);
}

std::string ModelExecutor::DescribeDevice() const {
  if (!device_->device().is_cpu()) return device_->Describe();
  std::string text =
      absl::StrCat(device_->Describe(), " ", std::string(IsaLevelName(context_->isa_level())), ", ",
                   config_.num_threads, config_.num_threads == 1 ? " thread" : " threads");
  for (const std::string& warning : context_->warnings()) absl::StrAppend(&text, "; ", warning);
  return text;
}

absl::Status ModelExecutor::Start(uint64_t num_kv_blocks, const std::string& communicator_handle) {
  if (model_ == nullptr) return absl::FailedPreconditionError("Start comes after Load");
  if (num_kv_blocks == 0) return absl::InvalidArgumentError("the number of KV blocks is 0");
  absl::Status status = CatchExceptions(kStepAdvice, [&] {
    const c10::StreamGuard stream(device_->stream());
    return StartModel(num_kv_blocks, communicator_handle);
  });
  if (!status.ok()) Abort();
  return status;
}

absl::Status ModelExecutor::StartModel(uint64_t num_kv_blocks,
                                       const std::string& communicator_handle) {
  // First, so that ranks which share a GPU unknowingly hear that from NCCL, and not that their
  // caches do not fit.
  phases_.Begin("communicator");
  absl::Status status = AttachToPeers(communicator_handle);
  if (!status.ok()) return status;
  phases_.Begin("kv_cache");
  cache_ = std::make_unique<KvCache>(cache_geometry_, static_cast<int64_t>(num_kv_blocks));
  phases_.Begin("self_test");
  status = TestCollectives(*communicator_, device_->device());
  if (!status.ok()) return status;
  if (status = ReportSpeed(); !status.ok()) return status;
  if (status = TestReferenceModel(); !status.ok()) return status;
  const int64_t num_tokens =
      std::min<int64_t>({kMaxTestTokens, config_.max_num_batched_tokens, config_.max_model_len});
  status = TestForward(*model_, *communicator_, *cache_, device_->device(), num_tokens,
                       config_.model_dir);
  if (!status.ok()) return status;
  runner_ = std::make_unique<StepRunner>(StepRunner::Parts{.config = config_,
                                                           .device = *device_,
                                                           .context = *context_,
                                                           .model = *model_,
                                                           .cache = *cache_,
                                                           .communicator = *communicator_,
                                                           .inputs = *inputs_,
                                                           .device_tokens = device_tokens_.get(),
                                                           .masks = masks_,
                                                           .on_step_done = on_step_done_},
                                         num_kv_blocks);
  phases_.Begin("graphs");
  if (status = runner_->RecordGraphs(); !status.ok()) return status;
  status = communicator_->Barrier();
  phases_.End();
  return status;
}

absl::Status ModelExecutor::ReportSpeed() {
  if (world_size_ == 1) return absl::OkStatus();
  const auto speed = MeasureCollectives(*communicator_, device_->device());
  if (!speed.ok()) return speed.status();
  if (rank_ == 0) std::fprintf(stderr, "%s\n", DescribeSpeed(*speed, world_size_).c_str());
  return absl::OkStatus();
}

absl::Status ModelExecutor::TestReferenceModel() {
  const absl::StatusOr<at::ScalarType> dtype = ParseDtype(config_.dtype);
  if (!dtype.ok()) return dtype.status();
  const auto logits = ReferenceModelLogits(
      *device_, *dtype, absl::Milliseconds(config_.collective_timeout_ms), *context_);
  if (!logits.ok()) return logits.status();
  return CompareWithStored(*logits, *dtype, DescribeDevice());
}

absl::Status ModelExecutor::AttachToPeers(const std::string& communicator_handle) {
  std::string shortage;
  if (device_->device().is_cuda() && config_.local_world_size > 1) {
    shortage = NcclShmShortage(FreeShmBytes());
  }
  if (!shortage.empty() && config_.local_rank == 0) {
    std::fprintf(stderr, "%s\n", shortage.c_str());
  }
  absl::StatusOr<std::unique_ptr<Communicator>> communicator =
      CreateCommunicator({.rank = rank_,
                          .world_size = world_size_,
                          .device = device_.get(),
                          .communicator_id = config_.communicator_id,
                          .handle = communicator_handle,
                          .timeout = absl::Milliseconds(config_.collective_timeout_ms),
                          .num_threads_per_rank = static_cast<int>(config_.num_threads),
                          .has_own_cores = config_.has_own_cores});
  if (!communicator.ok() && !shortage.empty()) {
    return absl::Status(communicator.status().code(),
                        absl::StrCat(communicator.status().message(), "; ", shortage));
  }
  if (!communicator.ok()) return communicator.status();
  communicator_ = *std::move(communicator);
  const absl::MutexLock lock(&abort_mutex_);
  abort_target_ = communicator_.get();
  if (is_aborted_) abort_target_->Abort();
  return absl::OkStatus();
}

void ModelExecutor::Abort() {
  const absl::MutexLock lock(&abort_mutex_);
  is_aborted_ = true;
  masks_.Abort();
  if (abort_target_ != nullptr) abort_target_->Abort();
}

template <typename Body>
auto ModelExecutor::CarryOut(const Body& body) -> decltype(body()) {
  auto result = CatchExceptions(kStepAdvice, [&] {
    const c10::StreamGuard stream(device_->stream());
    return body();
  });
  if (!result.ok()) Abort();
  return result;
}

absl::Status ModelExecutor::Begin(const StepPlan& plan) {
  if (runner_ == nullptr) return absl::FailedPreconditionError("steps come after Start");
  return CarryOut([&] { return runner_->Begin(plan); });
}

absl::StatusOr<StepResult> ModelExecutor::Finish() {
  return CarryOut([&] { return runner_->Finish(); });
}

}  // namespace lockstep::worker
