#ifndef LOCKSTEP_WORKER_RUNTIME_MODEL_EXECUTOR_H_
#define LOCKSTEP_WORKER_RUNTIME_MODEL_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/cache/kv_cache.h"
#include "worker/checkpoint/checkpoint.h"
#include "worker/comm/communicator.h"
#include "worker/device/compute_device.h"
#include "worker/kernels/kernel_context.h"
#include "worker/model/llama_model.h"
#include "worker/runtime/batch_builder.h"
#include "worker/runtime/decode_graphs.h"
#include "worker/runtime/largest_step.h"
#include "worker/runtime/logit_blocks.h"
#include "worker/runtime/logits_reader.h"
#include "worker/runtime/mask_inbox.h"
#include "worker/runtime/slot_table.h"
#include "worker/runtime/step_executor.h"
#include "worker/runtime/step_inputs.h"
#include "worker/runtime/token_exchange.h"

namespace lockstep::worker {

// The StepExecutor over a LlamaModel. Exceptions of LibTorch end here.
class ModelExecutor : public StepExecutor {
 public:
  // As OpenDevice.
  using DeviceOpener = std::function<absl::StatusOr<std::unique_ptr<ComputeDevice>>(
      const std::string& name, int local_rank)>;

  explicit ModelExecutor(DeviceOpener open_device = &OpenDevice);

  absl::StatusOr<LoadedInfo> Load(const WorkerConfig& config, int rank, int world_size,
                                  LoadProgressCallback progress) override;
  absl::Status Start(uint64_t num_kv_blocks, const std::string& communicator_handle) override;
  absl::StatusOr<StepResult> Execute(const StepPlan& plan) override;
  void AddMasks(TokenMasks masks) override { masks_.Add(std::move(masks)); }
  void Abort() override;

 private:
  absl::StatusOr<LoadedInfo> LoadModel(const LoadProgressCallback& progress);
  // After the weights have been loaded.
  absl::StatusOr<uint64_t> CountKvBlocks();
  std::string DescribeDevice() const;
  StepLimits Limits() const;
  absl::Status StartModel(uint64_t num_kv_blocks, const std::string& communicator_handle);
  void AllocateForSteps(uint64_t num_kv_blocks);
  absl::Status AttachToPeers(const std::string& communicator_handle);
  absl::Status RecordGraphs();
  absl::Status ExecuteStep(const StepPlan& plan, StepResult& result);
  // Of the plan's guided rows, on rank 0.
  absl::StatusOr<TokenMasks> WaitForMasks(const StepPlan& plan);
  // Computes the wanted logits in blocks of rows and, on rank 0, uses them.
  absl::Status ComputeLogits(const StepPlan& plan, const BuiltBatch& built,
                             const at::Tensor& hidden, StepResult& result);
  // Where the model may compute the block's logits to be sent: [num_rows, vocab_size] float32 in
  // `result`; undefined where they are used otherwise, and on ranks other than 0.
  at::Tensor RowsToSend(const LogitBlock& block, StepResult& result) const;
  // [num_rows, vocab_size] float32 on the host.
  absl::StatusOr<at::Tensor> HostLogits(const at::Tensor& logits);
  // Tells every rank what rank 0 sampled, and appends it to the slots.
  absl::Status ShareTokens(const BuiltBatch& built, const StepResult& result);

  const DeviceOpener open_device_;
  WorkerConfig config_;
  int rank_ = 0;
  int world_size_ = 1;
  // Members are destroyed in the order opposite to this: what uses a device, a communicator or
  // memory comes behind it.
  std::unique_ptr<ComputeDevice> device_;
  std::unique_ptr<KernelContext> context_;
  std::unique_ptr<LlamaModel> model_;
  KvCacheGeometry cache_geometry_;
  std::unique_ptr<KvCache> cache_;
  std::optional<SlotTable> slots_;
  std::unique_ptr<StepInputs> inputs_;
  std::unique_ptr<TokenExchange> tokens_;
  at::Tensor
      host_logits_;  // [max_logit_rows, vocab_size] float32, where logits are not on the host
  std::unique_ptr<LogitsReader> logits_reader_;  // on rank 0 alone

  MaskInbox masks_;

  // Owned by the thread that calls Start and Execute.
  std::unique_ptr<Communicator> communicator_;
  DecodeGraphs graphs_;  // none where the device or the model cannot be recorded

  absl::Mutex abort_mutex_;
  // What Abort, which comes from any thread, is passed on to: communicator_ once it is there.
  Communicator* abort_target_ ABSL_GUARDED_BY(abort_mutex_) = nullptr;
  bool is_aborted_ ABSL_GUARDED_BY(abort_mutex_) = false;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_MODEL_EXECUTOR_H_
