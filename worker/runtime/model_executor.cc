#include "worker/runtime/model_executor.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "worker/checkpoint/llama_config.h"
#include "worker/checkpoint/tensor_parallel.h"
#include "worker/kernels/isa_level.h"
#include "worker/runtime/kv_budget.h"
#include "worker/runtime/self_test.h"
#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

constexpr uint32_t kMinBlockSize = 8;
constexpr uint32_t kMaxBlockSize = 256;
constexpr int64_t kMaxTestTokens = 8;

// Runs `body`, which returns a Status or StatusOr, and turns exceptions into a status.
template <typename Body>
auto CatchExceptions(const Body& body) -> decltype(body()) {
  try {
    const c10::InferenceMode no_gradients;
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const c10::Error& error) {
    return absl::InternalError(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

absl::StatusOr<at::ScalarType> ParseDtype(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  return absl::InvalidArgumentError(
      absl::StrCat("dtype is \"", name, "\"; it must be float32, bfloat16 or float16"));
}

absl::Status CheckConfig(const WorkerConfig& config, int rank, int world_size) {
  if (config.device != "cpu") {
    return absl::InvalidArgumentError(
        absl::StrCat("device is \"", config.device, "\"; this worker is built for \"cpu\" alone"));
  }
  if (rank < 0 || rank >= world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the rank is ", rank, "; it must be from 0 to ", world_size - 1));
  }
  const uint32_t block_size = config.block_size;
  if (block_size < kMinBlockSize || block_size > kMaxBlockSize ||
      (block_size & (block_size - 1)) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("block_size is ", block_size,
                                                   "; it must be a power of two from ",
                                                   kMinBlockSize, " to ", kMaxBlockSize));
  }
  if (config.max_num_seqs == 0 || config.max_num_batched_tokens == 0 || config.max_model_len == 0 ||
      config.num_threads == 0 || config.collective_timeout_ms == 0) {
    return absl::InvalidArgumentError(
        "max_num_seqs, max_num_batched_tokens, max_model_len, num_threads and "
        "collective_timeout_ms must be positive");
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<StepExecutor> MakeStepExecutor() { return std::make_unique<ModelExecutor>(); }

absl::StatusOr<LoadedInfo> ModelExecutor::Load(const WorkerConfig& config, int rank, int world_size,
                                               LoadProgressCallback progress) {
  if (absl::Status status = CheckConfig(config, rank, world_size); !status.ok()) return status;
  config_ = config;
  rank_ = rank;
  world_size_ = world_size;
  // LibTorch's own threads, which the small host-side ops would otherwise start for every core.
  at::set_num_threads(static_cast<int>(config.num_threads));
  return CatchExceptions([&] { return LoadModel(progress); });
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

  const ModelOptions options = {
      .dtype = *dtype, .device = device_, .max_num_tokens = config_.max_num_batched_tokens};
  const ShardPlan plan = MakeShardPlan(*llama, rank_, world_size_);
  cache_geometry_ = CacheGeometry(*llama, plan, options, config_.block_size);
  LoadedInfo info;
  info.kv_block_bytes = static_cast<uint64_t>(cache_geometry_.block_bytes());
  // What does not fit now will not fit beside the weights: minutes are saved by saying so here.
  status =
      ChooseNumKvBlocks(config_, world_size_, info.kv_block_bytes, AvailableHostMemory()).status();
  if (!status.ok()) return status;
  model_ = std::make_unique<LlamaModel>(*llama, *checkpoint, plan, options, *context_, progress);
  info.weight_bytes = static_cast<uint64_t>(model_->weight_bytes());
  const absl::StatusOr<uint64_t> num_blocks =
      ChooseNumKvBlocks(config_, world_size_, info.kv_block_bytes, AvailableHostMemory());
  if (!num_blocks.ok()) return num_blocks.status();
  info.num_kv_blocks = *num_blocks;
  info.device_description =
      absl::StrCat("cpu ", std::string(IsaLevelName(context_->isa_level())), ", ",
                   config_.num_threads, config_.num_threads == 1 ? " thread" : " threads");
  for (const std::string& warning : context_->warnings()) {
    absl::StrAppend(&info.device_description, "; ", warning);
  }
  return info;
}

absl::Status ModelExecutor::Start(uint64_t num_kv_blocks) {
  if (model_ == nullptr) return absl::FailedPreconditionError("Start comes after Load");
  if (num_kv_blocks == 0) return absl::InvalidArgumentError("the number of KV blocks is 0");
  absl::Status status = CatchExceptions([&] { return StartModel(num_kv_blocks); });
  if (!status.ok()) Abort();
  return status;
}

absl::Status ModelExecutor::StartModel(uint64_t num_kv_blocks) {
  cache_ = std::make_unique<KvCache>(cache_geometry_, static_cast<int64_t>(num_kv_blocks));
  slots_.emplace(SlotTable::Limits{.max_num_seqs = config_.max_num_seqs,
                                   .max_num_batched_tokens = config_.max_num_batched_tokens,
                                   .max_model_len = config_.max_model_len,
                                   .block_size = config_.block_size,
                                   .num_kv_blocks = num_kv_blocks,
                                   .vocab_size = static_cast<uint64_t>(model_->vocab_size())});
  if (rank_ == 0) {
    logits_reader_ = std::make_unique<LogitsReader>(context_->pool(), model_->vocab_size());
  }
  if (absl::Status status = AttachToPeers(); !status.ok()) return status;
  if (absl::Status status = TestCollectives(*communicator_, device_); !status.ok()) return status;
  const int64_t num_tokens =
      std::min<int64_t>({kMaxTestTokens, config_.max_num_batched_tokens, config_.max_model_len});
  absl::Status status = TestForward(*model_, *communicator_, *cache_, device_, num_tokens);
  if (!status.ok()) return status;
  return communicator_->Barrier();
}

absl::Status ModelExecutor::AttachToPeers() {
  absl::StatusOr<std::unique_ptr<Communicator>> communicator =
      CreateCommunicator({.rank = rank_,
                          .world_size = world_size_,
                          .communicator_id = config_.communicator_id,
                          .timeout = absl::Milliseconds(config_.collective_timeout_ms),
                          .num_threads_per_rank = static_cast<int>(config_.num_threads)});
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

absl::StatusOr<StepResult> ModelExecutor::Execute(const StepPlan& plan) {
  if (!slots_.has_value()) return absl::FailedPreconditionError("Execute comes after Start");
  const auto begin = std::chrono::steady_clock::now();
  StepResult result;
  absl::Status status = CatchExceptions([&] { return ExecuteStep(plan, result); });
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
  const BuiltBatch built = BuildBatch(*slots_, *runs, config_.block_size, device_);
  at::Tensor hidden;
  absl::Status status = model_->Forward(built.batch, *communicator_, *cache_, hidden);
  if (!status.ok() || built.logit_spans.empty()) return status;
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
  const StepBatch& batch = built.batch;
  TokenMasks masks;
  for (int64_t first = 0; first < batch.num_logit_rows; first += kMaxLogitRows) {
    const int64_t num_rows = std::min(kMaxLogitRows, batch.num_logit_rows - first);
    const int64_t num_decode_rows =
        std::clamp<int64_t>(batch.num_decode_logit_rows - first, 0, num_rows);
    at::Tensor logits;
    absl::Status status =
        model_->Logits(hidden.narrow(0, first, num_rows), num_decode_rows, *communicator_, logits);
    if (!status.ok()) return status;
    if (rank_ != 0) continue;
    if (first == 0) {
      absl::StatusOr<TokenMasks> waited = WaitForMasks(plan);
      if (!waited.ok()) return waited.status();
      masks = *std::move(waited);
    }
    status = logits_reader_->Read(built, *slots_, masks, logits.cpu(), first, result);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ModelExecutor::ShareTokens(const BuiltBatch& built, const StepResult& result) {
  const auto num_sampled =
      std::count_if(built.logit_spans.begin(), built.logit_spans.end(),
                    [](const LogitSpan& span) { return span.use == LogitSpan::Use::kSample; });
  if (num_sampled == 0) return absl::OkStatus();
  at::Tensor tokens = at::empty({num_sampled}, at::TensorOptions().dtype(at::kLong));
  for (size_t i = 0; i < result.sampled.size(); ++i) {
    tokens.data_ptr<int64_t>()[i] = result.sampled[i].token_id;
  }
  at::Tensor shared = tokens.to(device_);
  if (absl::Status status = communicator_->Broadcast(shared); !status.ok()) return status;
  const at::Tensor host = shared.cpu();
  const auto* token_ids = host.const_data_ptr<int64_t>();
  for (const LogitSpan& span : built.logit_spans) {
    if (span.use == LogitSpan::Use::kSample) {
      slots_->Append(span.slot, static_cast<uint32_t>(token_ids[span.output]));
    }
  }
  return absl::OkStatus();
}

}  // namespace lockstep::worker
