#ifndef LOCKSTEP_WORKER_RUNTIME_STEP_RUNNER_H_
#define LOCKSTEP_WORKER_RUNTIME_STEP_RUNNER_H_

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/cache/kv_cache.h"
#include "worker/comm/communicator.h"
#include "worker/device/compute_device.h"
#include "worker/kernels/kernel_context.h"
#include "worker/model/llama_model.h"
#include "worker/runtime/batch_builder.h"
#include "worker/runtime/decode_graphs.h"
#include "worker/runtime/device_tokens.h"
#include "worker/runtime/logit_blocks.h"
#include "worker/runtime/logits_reader.h"
#include "worker/runtime/mask_inbox.h"
#include "worker/runtime/slot_masks.h"
#include "worker/runtime/slot_table.h"
#include "worker/runtime/step_inputs.h"
#include "worker/runtime/step_plan.h"
#include "worker/runtime/step_profiler.h"
#include "worker/runtime/token_exchange.h"

namespace lockstep::worker {

// Carries out step plans on one rank. Where the device computes beside the host, a step that only
// samples is handed to it whole, tokens included, and the next step may be begun meanwhile: it
// reads the tokens where they are. So is a step that only reports last positions' logits, of as
// many rows as there is memory for in two steps. Every other step is done when Begin returns: on
// the CPU all are, on a GPU those with all positions' logits or prompt logprobs, or that report and
// sample.
//
// From one thread at a time, under the device's stream. Methods throw c10::Error when a kernel
// fails. After an error only fit to be destroyed.
class StepRunner {
 public:
  // Everything is borrowed and outlives the runner.
  struct Parts {
    const WorkerConfig& config;
    ComputeDevice& device;
    KernelContext& context;
    LlamaModel& model;
    KvCache& cache;
    Communicator& communicator;
    StepInputs& inputs;
    // Null where the device does not compute beside the host.
    DeviceTokens* device_tokens;
    MaskInbox& masks;
    // As StepExecutor::OnStepDone; may be empty.
    std::function<void()> on_step_done;
  };

  StepRunner(const Parts& parts, uint64_t num_kv_blocks);

  // Records the decode steps where device, model and configuration allow it. All ranks together.
  absl::Status RecordGraphs();

  // As StepExecutor.
  int max_steps_under_way() const { return parts_.device_tokens == nullptr ? 1 : 2; }
  bool NeedsFinishedSteps(const StepPlan& plan) const;
  absl::Status Begin(const StepPlan& plan);
  absl::StatusOr<StepResult> Finish();

 private:
  using Clock = std::chrono::steady_clock;

  // A step that was begun and not finished.
  struct StepUnderWay {
    Clock::time_point begin;
    uint64_t plan_hash = 0;
    StepResult result;
    // Where the device has done the step; null: it has.
    std::shared_ptr<StreamMark> mark;
    // Of the tokens that the device chooses, if any.
    std::optional<int> ticket;
    std::vector<SlotTable::TokenPlace> places;
    // Of the logits that the step reports, if it is not done: their rows, and where those will be.
    std::vector<LogitSpan> reported;
    at::Tensor host_logits;  // on rank 0
  };

  int rank() const { return parts_.communicator.rank(); }
  absl::Status CarryOut(const StepPlan& plan, const std::vector<Run>& runs, StepUnderWay& step);
  // `hidden` is LlamaModel::Forward's; its rows beyond built.num_logit_rows are padding.
  absl::Status Forward(const std::vector<Run>& runs, BuiltBatch& built, at::Tensor& hidden);
  bool CanChooseOnDevice(const BuiltBatch& built) const;
  absl::Status ChooseOnDevice(const StepPlan& plan, const BuiltBatch& built,
                              const at::Tensor& hidden, StepUnderWay& step);
  // How many rows a step may report that is not done when Begin returns.
  int64_t max_rows_reported_later() const;
  bool CanReportLater(const BuiltBatch& built) const;
  absl::Status ReportLater(const BuiltBatch& built, const at::Tensor& hidden, StepUnderWay& step);
  absl::Status ReadOnHost(const StepPlan& plan, const BuiltBatch& built, const at::Tensor& hidden,
                          StepResult& result);
  // Computes the wanted logits in blocks of rows and, on rank 0, uses them.
  absl::Status ComputeLogits(const StepPlan& plan, const BuiltBatch& built,
                             const at::Tensor& hidden, StepResult& result);
  // Computes this rank's columns of a span's logits where they are sent from.
  void ComputeShard(const LogitBlock& block, const at::Tensor& hidden, StepResult& result) const;
  // Of the plan's guided rows, on rank 0; none elsewhere.
  absl::StatusOr<SlotMasks> WaitForMasks(const StepPlan& plan);
  // [num_rows, vocab_size] float32 on the host.
  absl::StatusOr<at::Tensor> HostLogits(const at::Tensor& logits);
  // Tells every rank what rank 0 sampled, and appends it to the slots.
  absl::Status ShareTokens(const BuiltBatch& built, const StepResult& result);
  absl::Status WaitFor(StepUnderWay& step);
  // Takes over what the device has chosen.
  void ReadChoices(StepUnderWay& step);

  const Parts parts_;
  SlotTable slots_;
  TokenExchange tokens_;
  StepProfiler profiler_;
  std::unique_ptr<LogitsReader> logits_reader_;  // on rank 0 alone
  // [max_logit_rows, vocab_size] float32 on rank 0, where the device computes beside the host; of
  // those reported later, every other step's are in the second half.
  at::Tensor host_logits_;
  DecodeGraphs graphs_;  // none where the device or the model cannot be recorded
  std::deque<StepUnderWay> under_way_;
  Clock::time_point last_finish_;
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_RUNTIME_STEP_RUNNER_H_
