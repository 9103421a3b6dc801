#ifndef LOCKSTEP_WORKER_RUNTIME_MODEL_EXECUTOR_H_
#define LOCKSTEP_WORKER_RUNTIME_MODEL_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
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
#include "worker/runtime/device_tokens.h"
#include "worker/runtime/largest_step.h"
#include "worker/runtime/mask_inbox.h"
#include "worker/runtime/start_phases.h"
#include "worker/runtime/step_executor.h"
#include "worker/runtime/step_inputs.h"
#include "worker/runtime/step_runner.h"

namespace lockstep::worker {

// The StepExecutor over a LlamaModel. Exceptions of LibTorch end here.
class ModelExecutor : public StepExecutor {
 public:
  // As OpenDevice.
  using DeviceOpener = std::function<absl::StatusOr<std::unique_ptr<ComputeDevice>>(
      const std::string& name, LocalRank local_rank)>;

  explicit ModelExecutor(DeviceOpener open_device = &OpenDevice);

  absl::StatusOr<LoadedInfo> Load(const WorkerConfig& config, int rank, int world_size,
                                  LoadProgressCallback progress) override;
  absl::Status Start(uint64_t num_kv_blocks, const std::string& communicator_handle) override;
  std::vector<StartPhase> start_phases() const override { return phases_.phases(); }
  int max_steps_under_way() const override { return runner_->max_steps_under_way(); }
  bool NeedsFinishedSteps(const StepPlan& plan) const override {
    return runner_->NeedsFinishedSteps(plan);
  }
  absl::Status Begin(const StepPlan& plan) override;
  absl::StatusOr<StepResult> Finish() override;
  void OnStepDone(std::function<void()> callback) override { on_step_done_ = std::move(callback); }
  void AddMasks(TokenMasks masks) override { masks_.Add(std::move(masks)); }
  void Abort() override;

 private:
  absl::StatusOr<LoadedInfo> LoadModel(const LoadProgressCallback& progress);
  // Before the weights are loaded: what does not fit now will not fit beside them, and minutes are
  // saved by saying so.
  absl::Status CheckMemory(const LlamaConfig& llama, const ShardPlan& plan,
                           at::ScalarType dtype) const;
  // After the weights have been loaded.
  absl::StatusOr<uint64_t> CountKvBlocks();
  std::string DescribeDevice() const;
  StepLimits Limits() const;
  absl::Status StartModel(uint64_t num_kv_blocks, const std::string& communicator_handle);
  // Says how fast sums over ranks are.
  absl::Status ReportSpeed();
  // Whether this rank computes a small model as it is known.
  absl::Status TestReferenceModel();
  absl::Status AttachToPeers(const std::string& communicator_handle);
  // Calls `body`, which returns a Status or StatusOr, for a step: on the device's stream, and with
  // an Abort where it fails, because the other ranks must not wait for this one.
  template <typename Body>
  auto CarryOut(const Body& body) -> decltype(body());

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
  std::unique_ptr<StepInputs> inputs_;
  std::unique_ptr<DeviceTokens> device_tokens_;  // where the device computes beside the host
  std::function<void()> on_step_done_;
  StartPhases phases_;

  MaskInbox masks_;

  // Owned by the thread that calls Start, Begin and Finish.
  std::unique_ptr<Communicator> communicator_;
  std::unique_ptr<StepRunner> runner_;  // once started

  absl::Mutex abort_mutex_;
  // What Abort, which comes from any thread, is passed on to: communicator_ once it is there.
  Communicator* abort_target_ ABSL_GUARDED_BY(abort_mutex_) = nullptr;
  bool is_aborted_ ABSL_GUARDED_BY(abort_mutex_) = false;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_MODEL_EXECUTOR_H_
