#include "worker/runtime/model_executor.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"
#include "worker/kernels/isa_level.h"
#include "worker/runtime/catch_exceptions.h"
#include "worker/runtime/check_config.h"
#include "worker/runtime/device_wait.h"
#include "worker/runtime/kv_budget.h"
#include "worker/runtime/self_test.h"
#include "worker/sampling/sampler.h"

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
  return CatchExceptions(kLoadAdvice, [&]() -> absl::StatusOr<LoadedInfo> {
    auto device = open_device_(config_.device, static_cast<int>(config_.local_rank));
    if (!device.ok()) return device.status();
    device_ = *std::move(device);
    const c10::DeviceGuard guard(device_->device());
    return LoadModel(progress);
  });
}

absl::StatusOr<LoadedInfo> ModelExecutor::LoadModel(const LoadProgressCallback& progress) {
  const absl::StatusOr<at::ScalarType> dtype = ParseDtype(config_.dtype);
  if (!dtype.ok()) return dtype.status();
  const absl::StatusOr<LlamaConfig> llama = LoadLlamaConfig(config_.model_dir);
  if (!llama.ok()) return llama.status();
  absl::Status status = CheckTensorParallel(*llama, world_size_);
  if (!status.ok()) return status;
  const absl::StatusOr<Checkpoint> checkpoint = Checkpoint::Open(config_.model_dir, *llama);
  if (!checkpoint.ok()) return checkpoint.status();
  KernelOptions kernel_options;
  kernel_options.num_threads = static_cast<int>(config_.num_threads);
  auto context = KernelContext::Create(kernel_options);
  if (!context.ok()) return context.status();
  context_ = *std::move(context);

  const ModelOptions options = {.dtype = *dtype,
                                .device = device_->device(),
                                .max_num_tokens = config_.max_num_batched_tokens};
  const ShardPlan plan = MakeShardPlan(*llama, rank_, world_size_);
  cache_geometry_ = CacheGeometry(*llama, plan, options, config_.block_size);
  LoadedInfo info;
  info.kv_block_bytes = static_cast<uint64_t>(cache_geometry_.block_bytes());
  const absl::StatusOr<DeviceMemory> memory = device_->Memory();
  if (!memory.ok()) return memory.status();
  // What does not fit now will not fit beside the weights: minutes are saved by saying so here.
  status = ChooseNumKvBlocks(config_, world_size_, info.kv_block_bytes, *memory).status();
  if (!status.ok()) return status;
  model_ = std::make_unique<LlamaModel>(*llama, *checkpoint, plan, options, *context_, progress);
  info.weight_bytes = static_cast<uint64_t>(model_->weight_bytes());
  const absl::StatusOr<uint64_t> num_blocks = CountKvBlocks();
  if (!num_blocks.ok()) return num_blocks.status();
  info.num_kv_blocks = *num_blocks;
  info.device_description = DescribeDevice();
  if (rank_ == 0) {
    auto handle = MakeCommunicatorHandle(device_->device(), world_size_);
    if (!handle.ok()) return handle.status();
    info.communicator_handle = *std::move(handle);
  }
  return info;
}

StepLimits ModelExecutor::Limits() const {
  return {.max_num_seqs = config_.max_num_seqs,
          .max_num_batched_tokens = config_.max_num_batched_tokens,
          .max_model_len = config_.max_model_len};
}

absl::StatusOr<uint64_t> ModelExecutor::CountKvBlocks() {
  // Weights are copied on other streams than steps run on.
  if (absl::Status status = device_->Synchronize(); !status.ok()) return status;
  inputs_ = std::make_unique<StepInputs>(
      *device_,
      StepSizes{.num_tokens = config_.max_num_batched_tokens,
                .num_sequences = config_.max_num_seqs,
                .num_logit_rows = config_.max_num_batched_tokens},
      (int64_t{config_.max_model_len} + config_.block_size - 1) / config_.block_size);
  // The host gives memory out when it is first used, and what is free there is halved anyway.
  if (device_->device().is_cuda()) {
    const c10::StreamGuard stream(device_->stream());
    absl::Status status =
        RunLargestStep(*model_, cache_geometry_, Limits(), rank_, world_size_, *inputs_, *device_);
    if (!status.ok()) return status;
  }
  const absl::StatusOr<DeviceMemory> memory = device_->Memory();
  if (!memory.ok()) return memory.status();
  return ChooseNumKvBlocks(config_, world_size_,
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
  AllocateForSteps(num_kv_blocks);
  absl::Status status = AttachToPeers(communicator_handle);
  if (!status.ok()) return status;
  status = TestCollectives(*communicator_, device_->device());
  if (!status.ok()) return status;
  const int64_t num_tokens =
      std::min<int64_t>({kMaxTestTokens, config_.max_num_batched_tokens, config_.max_model_len});
  status = TestForward(*model_, *communicator_, *cache_, device_->device(), num_tokens);
  if (!status.ok()) return status;
  if (status = RecordGraphs(); !status.ok()) return status;
  return communicator_->Barrier();
}

void ModelExecutor::AllocateForSteps(uint64_t num_kv_blocks) {
  cache_ = std::make_unique<KvCache>(cache_geometry_, static_cast<int64_t>(num_kv_blocks));
  slots_.emplace(SlotTable::Limits{.max_num_seqs = config_.max_num_seqs,
                                   .max_num_batched_tokens = config_.max_num_batched_tokens,
                                   .max_model_len = config_.max_model_len,
                                   .block_size = config_.block_size,
                                   .num_kv_blocks = num_kv_blocks,
                                   .vocab_size = static_cast<uint64_t>(model_->vocab_size())});
  tokens_ = std::make_unique<TokenExchange>(*device_, config_.max_num_seqs);
  if (rank_ != 0) return;
  const int64_t vocab_size = model_->vocab_size();
  logits_reader_ = std::make_unique<LogitsReader>(context_->pool(), vocab_size);
  if (device_->device().is_cpu()) return;
  const int64_t num_rows = model_->max_logit_rows();
  host_logits_ = device_->AllocateHost(num_rows * vocab_size * int64_t{sizeof(float)})
                     .view(at::kFloat)
                     .view({num_rows, vocab_size});
}

absl::Status ModelExecutor::AttachToPeers(const std::string& communicator_handle) {
  absl::StatusOr<std::unique_ptr<Communicator>> communicator =
      CreateCommunicator({.rank = rank_,
                          .world_size = world_size_,
                          .device = device_->device(),
                          .communicator_id = config_.communicator_id,
                          .handle = communicator_handle,
                          .timeout = absl::Milliseconds(config_.collective_timeout_ms),
                          .num_threads_per_rank = static_cast<int>(config_.num_threads)});
  if (!communicator.ok()) return communicator.status();
  communicator_ = *std::move(communicator);
  const absl::MutexLock lock(&abort_mutex_);
  abort_target_ = communicator_.get();
  if (is_aborted_) abort_target_->Abort();
  return absl::OkStatus();
}

absl::Status ModelExecutor::RecordGraphs() {
  GraphRecorder* recorder = device_->graph_recorder();
  if (recorder == nullptr || !model_->can_be_recorded()) return absl::OkStatus();
  const DecodeGraphs::Steps steps = {
      .make_batch =
          [this](int64_t num_rows) {
            return BuildBatch(*slots_, {}, config_.block_size, num_rows, *inputs_).batch;
          },
      .forward =
          [this](const StepBatch& batch, at::Tensor& hidden) {
            return model_->Forward(batch, *communicator_, *cache_, hidden);
          },
      .wait = [this] { return WaitForDevice(*communicator_, *device_); }};
  return graphs_.Record(*recorder, DecodeBatchSizes(config_.max_num_seqs), steps);
}

void ModelExecutor::Abort() {
  const absl::MutexLock lock(&abort_mutex_);
  is_aborted_ = true;
  masks_.Abort();
  if (abort_target_ != nullptr) abort_target_->Abort();
}

absl::StatusOr<StepResult> ModelExecutor::Execute(const StepPlan& plan) {
  if (!slots_.has_value()) return absl::FailedPreconditionError("Execute comes after Start");
  const auto begin = std::chrono::steady_clock::now();
  StepResult result;
  absl::Status status = CatchExceptions(kStepAdvice, [&] {
    const c10::StreamGuard stream(device_->stream());
    return ExecuteStep(plan, result);
  });
  if (!status.ok()) {
    Abort();  // the other ranks must not wait for this one
    return status;
  }
  result.step = plan.step;
  result.state_hash = slots_->hash();
  result.duration_ns = static_cast<uint64_t>(
      std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count());
  return result;
}

absl::Status ModelExecutor::ExecuteStep(const StepPlan& plan, StepResult& result) {
  for (const AdmittedSlot& admitted : plan.admitted) {
    if (admitted.logits != LogitsRequest::kNone) continue;
    if (absl::Status status = CheckSampling(admitted.sampling); !status.ok()) return status;
  }
  const absl::StatusOr<std::vector<Run>> runs = slots_->Apply(plan);
  if (!runs.ok()) return runs.status();
  if (runs->empty()) return absl::OkStatus();
  const int64_t graph_size = graphs_.BatchSizeFor(*runs);
  const int64_t num_padding_rows =
      graph_size == 0 ? 0 : graph_size - static_cast<int64_t>(runs->size());
  const BuiltBatch built =
      BuildBatch(*slots_, *runs, config_.block_size, num_padding_rows, *inputs_);
  at::Tensor hidden;
  absl::Status status;
  if (graph_size > 0) {
    hidden = graphs_.Replay(graph_size);
  } else {
    status = model_->Forward(built.batch, *communicator_, *cache_, hidden);
  }
  if (!status.ok()) return status;
  if (built.logit_spans.empty()) return WaitForDevice(*communicator_, *device_);
  if (rank_ == 0) LogitsReader::Prepare(built, model_->vocab_size(), result);
  status = ComputeLogits(plan, built, hidden, result);
  return status.ok() ? ShareTokens(built, result) : status;
}

absl::StatusOr<TokenMasks> ModelExecutor::WaitForMasks(const StepPlan& plan) {
  const bool has_guided = std::any_of(plan.scheduled.begin(), plan.scheduled.end(),
                                      [](const ScheduledSlot& row) { return row.guided; });
  if (!has_guided) return TokenMasks();
  return masks_.Wait(plan.step, absl::Milliseconds(config_.collective_timeout_ms));
}

absl::Status ModelExecutor::ComputeLogits(const StepPlan& plan, const BuiltBatch& built,
                                          const at::Tensor& hidden, StepResult& result) {
  TokenMasks masks;
  for (const LogitBlock& block : DivideLogits(built.logit_spans, model_->max_logit_rows())) {
    const int64_t first = block.first_row;
    const int64_t num_decode_rows =
        std::clamp<int64_t>(built.batch.num_decode_logit_rows - first, 0, block.num_rows);
    at::Tensor logits = RowsToSend(block, result);
    absl::Status status = model_->Logits(hidden.narrow(0, first, block.num_rows), num_decode_rows,
                                         *communicator_, logits);
    if (!status.ok()) return status;
    if (rank_ != 0) continue;
    const absl::StatusOr<at::Tensor> host = HostLogits(logits);
    if (!host.ok()) return host.status();
    if (first == 0) {
      absl::StatusOr<TokenMasks> waited = WaitForMasks(plan);
      if (!waited.ok()) return waited.status();
      masks = *std::move(waited);
    }
    status = logits_reader_->Read(built, *slots_, masks, *host, first, result);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

at::Tensor ModelExecutor::RowsToSend(const LogitBlock& block, StepResult& result) const {
  if (rank_ != 0 || block.reported == nullptr || !device_->device().is_cpu()) return {};
  const int64_t vocab_size = model_->vocab_size();
  float* rows = result.logits[block.reported->output].logits.data();
  return at::from_blob(rows + block.first_span_row * vocab_size, {block.num_rows, vocab_size},
                       at::TensorOptions().dtype(at::kFloat));
}

absl::StatusOr<at::Tensor> ModelExecutor::HostLogits(const at::Tensor& logits) {
  if (logits.is_cpu()) return logits;
  at::Tensor host = host_logits_.narrow(0, 0, logits.size(0));
  host.copy_(logits, /*non_blocking=*/true);
  if (absl::Status status = WaitForDevice(*communicator_, *device_); !status.ok()) return status;
  return host;
}

absl::Status ModelExecutor::ShareTokens(const BuiltBatch& built, const StepResult& result) {
  const auto num_sampled =
      std::count_if(built.logit_spans.begin(), built.logit_spans.end(),
                    [](const LogitSpan& span) { return span.use == LogitSpan::Use::kSample; });
  if (num_sampled == 0) return WaitForDevice(*communicator_, *device_);
  const auto token_ids = tokens_->Share(result.sampled, num_sampled, *communicator_);
  if (!token_ids.ok()) return token_ids.status();
  for (const LogitSpan& span : built.logit_spans) {
    if (span.use == LogitSpan::Use::kSample) {
      slots_->Append(span.slot, static_cast<uint32_t>((*token_ids)[span.output]));
    }
  }
  return absl::OkStatus();
}

}  // namespace lockstep::worker
