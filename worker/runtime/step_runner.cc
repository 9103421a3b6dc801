#include "worker/runtime/step_runner.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "worker/sampling/sampler.h"

namespace lockstep::worker {
namespace {

bool HasGuidedRows(const StepPlan& plan) {
  return std::any_of(plan.scheduled.begin(), plan.scheduled.end(),
                     [](const ScheduledSlot& row) { return row.guided; });
}

// What a slot reports of its tokens in a step.
struct Report {
  LogitsRequest logits;
  bool has_prompt_tokens;
};

// Of a scheduled slot, which the plan may admit.
Report ReportOf(const StepPlan& plan, const SlotTable& slots, const ScheduledSlot& scheduled) {
  const auto admitted =
      std::find_if(plan.admitted.begin(), plan.admitted.end(),
                   [&](const AdmittedSlot& candidate) { return candidate.slot == scheduled.slot; });
  // The rows before a prompt token report it: none is left once the prompt's last token runs.
  const auto report = [&](const auto& slot, uint32_t num_prompt_tokens) -> Report {
    return {slot.logits,
            slot.num_prompt_logprobs.has_value() && scheduled.position + 1 < num_prompt_tokens};
  };
  if (admitted != plan.admitted.end()) return report(*admitted, NumPromptTokens(*admitted));
  const Slot& slot = slots.slot(scheduled.slot);
  return report(slot, slot.num_prompt_tokens);
}

// Names the rows of logits that the step reports.
void PrepareReports(const BuiltBatch& built, StepResult& result) {
  for (const LogitSpan& span : built.logit_spans) {
    if (span.use != LogitSpan::Use::kReport) continue;
    result.logits.push_back({.slot = span.slot,
                             .position = span.position,
                             .num_rows = static_cast<uint32_t>(span.num_rows),
                             .logits = {}});
  }
}

int64_t CountSpans(const BuiltBatch& built, LogitSpan::Use use) {
  return std::count_if(built.logit_spans.begin(), built.logit_spans.end(),
                       [use](const LogitSpan& span) { return span.use == use; });
}

}  // namespace

StepRunner::StepRunner(const Parts& parts, uint64_t num_kv_blocks)
    : parts_(parts),
      slots_({.max_num_seqs = parts.config.max_num_seqs,
              .max_num_batched_tokens = parts.config.max_num_batched_tokens,
              .max_model_len = parts.config.max_model_len,
              .block_size = parts.config.block_size,
              .num_kv_blocks = num_kv_blocks,
              .vocab_size = static_cast<uint64_t>(parts.model.vocab_size())}),
      tokens_(parts.device, parts.config.max_num_seqs),
      profiler_(parts.config, parts.communicator.rank(), parts.device) {
  if (rank() != 0) return;
  const int64_t vocab_size = parts.model.vocab_size();
  logits_reader_ = std::make_unique<LogitsReader>(parts.context.pool(), vocab_size);
  if (!parts.device.computes_beside_host()) return;
  const int64_t num_rows = parts.model.max_logit_rows();
  host_logits_ = parts.device.AllocateHost(num_rows * vocab_size * int64_t{sizeof(float)})
                     .view(at::kFloat)
                     .view({num_rows, vocab_size});
}

absl::Status StepRunner::RecordGraphs() {
  GraphRecorder* recorder = parts_.device.graph_recorder();
  const bool is_wanted = !parts_.config.enforce_eager && parts_.model.can_be_recorded();
  if (recorder == nullptr || !is_wanted) return absl::OkStatus();
  const DecodeGraphs::Steps steps = {
      .make_batch =
          [this](int64_t num_rows) {
            return BuildBatch(slots_, {}, parts_.config.block_size, num_rows, parts_.inputs).batch;
          },
      .forward =
          [this](const StepBatch& batch, at::Tensor& hidden) {
            return parts_.model.Forward(batch, parts_.communicator, parts_.cache, hidden);
          },
      .wait = [this] { return parts_.communicator.Wait(); }};
  return graphs_.Record(*recorder, DecodeBatchSizes(parts_.config.max_num_seqs), steps);
}

bool StepRunner::NeedsFinishedSteps(const StepPlan& plan) const {
  // A mask follows from the token before it, which the frontend has to see first.
  if (HasGuidedRows(plan)) return true;
  int64_t num_reports = 0;
  for (const ScheduledSlot& scheduled : plan.scheduled) {
    if (scheduled.slot >= parts_.config.max_num_seqs) continue;  // SlotTable refuses it
    const Report report = ReportOf(plan, slots_, scheduled);
    if (report.has_prompt_tokens || report.logits == LogitsRequest::kAll) return true;
    if (report.logits == LogitsRequest::kLast) ++num_reports;
  }
  // What is read on the host beside samples is read when all is known there.
  const bool only_reports = num_reports == static_cast<int64_t>(plan.scheduled.size());
  return num_reports > 0 && (!only_reports || num_reports > max_rows_reported_later());
}

absl::Status StepRunner::Begin(const StepPlan& plan) {
  StepUnderWay step;
  profiler_.BeforeStep(plan.step);
  step.begin = Clock::now();
  step.result.step = plan.step;
  for (const AdmittedSlot& admitted : plan.admitted) {
    if (admitted.logits != LogitsRequest::kNone) continue;
    if (absl::Status status = CheckSampling(admitted.sampling); !status.ok()) return status;
  }
  const absl::StatusOr<std::vector<Run>> runs = slots_.Apply(plan);
  if (!runs.ok()) return runs.status();
  step.plan_hash = slots_.plan_hash();
  if (!runs->empty()) {
    if (absl::Status status = CarryOut(plan, *runs, step); !status.ok()) return status;
  }
  const bool is_done = step.mark == nullptr;
  under_way_.push_back(std::move(step));
  if (is_done && max_steps_under_way() > 1 && parts_.on_step_done) parts_.on_step_done();
  return absl::OkStatus();
}

absl::Status StepRunner::CarryOut(const StepPlan& plan, const std::vector<Run>& runs,
                                  StepUnderWay& step) {
  BuiltBatch built;
  at::Tensor hidden;
  absl::Status status = Forward(runs, built, hidden);
  if (!status.ok()) return status;
  PrepareReports(built, step.result);
  if (rank() == 0) LogitsReader::Prepare(built, step.result);
  const bool reports_later = CanReportLater(built);
  if (!reports_later && !CanChooseOnDevice(built)) {
    return ReadOnHost(plan, built, hidden, step.result);
  }
  if (reports_later) {
    status = ReportLater(built, hidden, step);
  } else if (!built.logit_spans.empty()) {
    status = ChooseOnDevice(plan, built, hidden, step);
  }
  if (!status.ok()) return status;
  absl::StatusOr<std::shared_ptr<StreamMark>> mark = parts_.device.Mark(parts_.on_step_done);
  if (!mark.ok()) return mark.status();
  step.mark = *std::move(mark);
  return absl::OkStatus();
}

absl::Status StepRunner::Forward(const std::vector<Run>& runs, BuiltBatch& built,
                                 at::Tensor& hidden) {
  const int64_t graph_size = graphs_.BatchSizeFor(runs);
  const int64_t num_padding_rows =
      graph_size == 0 ? 0 : graph_size - static_cast<int64_t>(runs.size());
  built = BuildBatch(slots_, runs, parts_.config.block_size, num_padding_rows, parts_.inputs);
  if (built.has_pending_tokens) parts_.device_tokens->FillPending(built.batch.token_ids);
  if (graph_size == 0) {
    return parts_.model.Forward(built.batch, parts_.communicator, parts_.cache, hidden);
  }
  hidden = graphs_.Replay(graph_size);
  return absl::OkStatus();
}

bool StepRunner::CanChooseOnDevice(const BuiltBatch& built) const {
  return parts_.device_tokens != nullptr && CountSpans(built, LogitSpan::Use::kSample) ==
                                                static_cast<int64_t>(built.logit_spans.size());
}

absl::Status StepRunner::ChooseOnDevice(const StepPlan& plan, const BuiltBatch& built,
                                        const at::Tensor& hidden, StepUnderWay& step) {
  at::Tensor logits;
  // Without the rows of padding.
  absl::Status status =
      parts_.model.Logits(hidden.narrow(0, 0, built.num_logit_rows), parts_.communicator, logits);
  if (!status.ok()) return status;
  const absl::StatusOr<SlotMasks> masks = WaitForMasks(plan);
  if (!masks.ok()) return masks.status();
  const absl::StatusOr<int> ticket =
      parts_.device_tokens->Choose(built.logit_spans, slots_, *masks, logits, parts_.communicator);
  if (!ticket.ok()) return ticket.status();
  step.ticket = *ticket;
  for (const LogitSpan& span : built.logit_spans) {
    step.places.push_back(slots_.AppendPending(span.slot));
  }
  return absl::OkStatus();
}

int64_t StepRunner::max_rows_reported_later() const {
  return parts_.device_tokens == nullptr ? 0 : parts_.model.max_logit_rows() / 2;
}

bool StepRunner::CanReportLater(const BuiltBatch& built) const {
  return !built.logit_spans.empty() &&
         CountSpans(built, LogitSpan::Use::kReport) ==
             static_cast<int64_t>(built.logit_spans.size()) &&
         built.num_logit_rows <= max_rows_reported_later();
}

absl::Status StepRunner::ReportLater(const BuiltBatch& built, const at::Tensor& hidden,
                                     StepUnderWay& step) {
  at::Tensor logits;
  absl::Status status =
      parts_.model.Logits(hidden.narrow(0, 0, built.num_logit_rows), parts_.communicator, logits);
  if (!status.ok() || rank() != 0) return status;
  step.reported = built.logit_spans;
  const int64_t first = step.result.step % 2 == 0 ? 0 : max_rows_reported_later();
  step.host_logits = host_logits_.narrow(0, first, built.num_logit_rows);
  step.host_logits.copy_(logits, /*non_blocking=*/true);
  return absl::OkStatus();
}

absl::Status StepRunner::ReadOnHost(const StepPlan& plan, const BuiltBatch& built,
                                    const at::Tensor& hidden, StepResult& result) {
  if (built.logit_spans.empty()) return parts_.communicator.Wait();
  absl::Status status = ComputeLogits(plan, built, hidden, result);
  return status.ok() ? ShareTokens(built, result) : status;
}

absl::StatusOr<SlotMasks> StepRunner::WaitForMasks(const StepPlan& plan) {
  if (rank() != 0 || !HasGuidedRows(plan)) return SlotMasks();
  absl::StatusOr<TokenMasks> masks =
      parts_.masks.Wait(plan.step, absl::Milliseconds(parts_.config.collective_timeout_ms));
  if (!masks.ok()) return masks.status();
  return SlotMasks::Index(*std::move(masks), parts_.model.vocab_size());
}

absl::Status StepRunner::ComputeLogits(const StepPlan& plan, const BuiltBatch& built,
                                       const at::Tensor& hidden, StepResult& result) {
  std::optional<SlotMasks> masks;
  for (const LogitBlock& block : DivideLogits(built.logit_spans, parts_.model.max_logit_rows(),
                                              parts_.device.device().is_cpu())) {
    const int64_t first = block.first_row;
    const at::Tensor rows = hidden.narrow(0, first, block.num_rows);
    if (block.sharded != nullptr) {
      ComputeShard(block, rows, result);
      continue;
    }
    at::Tensor logits;
    absl::Status status = parts_.model.Logits(rows, parts_.communicator, logits);
    if (!status.ok()) return status;
    if (rank() != 0) continue;
    const absl::StatusOr<at::Tensor> host = HostLogits(logits);
    if (!host.ok()) return host.status();
    if (!masks.has_value()) {
      absl::StatusOr<SlotMasks> waited = WaitForMasks(plan);
      if (!waited.ok()) return waited.status();
      masks = *std::move(waited);
    }
    logits_reader_->Read(built.logit_spans, slots_, *masks, *host, first, result);
  }
  return absl::OkStatus();
}

void StepRunner::ComputeShard(const LogitBlock& block, const at::Tensor& hidden,
                              StepResult& result) const {
  UnfilledVector<float>& logits = result.logits[block.sharded->output].logits;
  const int64_t num_columns = parts_.model.shard_vocab_size();
  logits.resize(static_cast<size_t>(block.num_rows * num_columns));
  at::Tensor shard = at::from_blob(logits.data(), {block.num_rows, num_columns},
                                   at::TensorOptions().dtype(at::kFloat));
  parts_.model.LogitShard(hidden, shard);
}

absl::StatusOr<at::Tensor> StepRunner::HostLogits(const at::Tensor& logits) {
  if (logits.is_cpu()) return logits;
  at::Tensor host = host_logits_.narrow(0, 0, logits.size(0));
  host.copy_(logits, /*non_blocking=*/true);
  absl::Status status = parts_.communicator.Wait();
  if (!status.ok()) return status;
  return host;
}

absl::Status StepRunner::ShareTokens(const BuiltBatch& built, const StepResult& result) {
  const int64_t num_sampled = CountSpans(built, LogitSpan::Use::kSample);
  if (num_sampled == 0) return parts_.communicator.Wait();
  const auto token_ids = tokens_.Share(result.sampled, num_sampled, parts_.communicator);
  if (!token_ids.ok()) return token_ids.status();
  for (const LogitSpan& span : built.logit_spans) {
    if (span.use == LogitSpan::Use::kSample) {
      slots_.Append(span.slot, static_cast<uint32_t>((*token_ids)[span.output]));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResult> StepRunner::Finish() {
  StepUnderWay step = std::move(under_way_.front());
  under_way_.pop_front();
  if (absl::Status status = WaitFor(step); !status.ok()) return status;
  step.result.state_hash = slots_.StateHashAfter(step.plan_hash);
  // A step that was begun while the one before still ran has had the device to itself from its end.
  const Clock::time_point end = Clock::now();
  const Clock::time_point begin = std::max(step.begin, std::exchange(last_finish_, end));
  step.result.duration_ns = static_cast<uint64_t>(std::chrono::nanoseconds(end - begin).count());
  return std::move(step.result);
}

absl::Status StepRunner::WaitFor(StepUnderWay& step) {
  if (step.mark == nullptr) return absl::OkStatus();
  const absl::Status status = parts_.communicator.WaitForMark(*step.mark);
  if (!status.ok()) return status;
  if (step.ticket.has_value()) ReadChoices(step);
  if (!step.reported.empty()) {
    logits_reader_->Read(step.reported, slots_, SlotMasks(), step.host_logits, 0, step.result);
  }
  return absl::OkStatus();
}

void StepRunner::ReadChoices(StepUnderWay& step) {
  std::vector<SampledChoice> choices = parts_.device_tokens->Collect(*step.ticket);
  for (size_t i = 0; i < choices.size(); ++i) {
    slots_.Resolve(step.places[i], choices[i].token_id);
    if (rank() == 0) LogitsReader::FillIn(std::move(choices[i]), step.result.sampled[i]);
  }
}

}  // namespace lockstep::worker
