#include "tests/testing/fake_step_executor.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lockstep::testing {
namespace {

// The first token from `token` on, round the vocabulary, that the mask allows.
uint32_t NextAllowed(uint32_t token, const std::vector<uint32_t>& allowed) {
  const auto size = static_cast<uint32_t>(allowed.size() * 32);
  for (uint32_t i = 0; i < size; ++i) {
    const uint32_t candidate = (token + i) % size;
    if ((allowed[candidate / 32] >> (candidate % 32) & 1U) != 0) return candidate;
  }
  return token;
}

// What rank 0 makes and every rank wants to see again; no text.
constexpr absl::string_view kHandle("\0\xFFhandle", 8);

uint64_t Mix(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x100000001b3 + 1; }

}  // namespace

absl::StatusOr<worker::LoadedInfo> FakeStepExecutor::Load(const worker::WorkerConfig& config,
                                                          int rank, int world_size,
                                                          worker::LoadProgressCallback progress) {
  rank_ = rank;
  world_size_ = world_size;
  progress(1, 2);
  if (Has(Fault::kFailLoad)) return absl::DataLossError("model.safetensors ends early");
  if (Has(Fault::kCrashInLoad)) std::abort();
  if (Has(Fault::kHangInLoad)) return WaitForAbort();
  progress(2, 2);
  return worker::LoadedInfo{
      .num_kv_blocks = options_.num_kv_blocks - static_cast<uint64_t>(rank),
      .weight_bytes = 1000,
      .kv_block_bytes = 64,
      .device_description =
          absl::StrCat("fake rank ", rank, " of ", world_size, ", ", config.num_threads,
                       " threads, local rank ", config.local_rank, " of ", config.local_world_size,
                       config.sees_the_others_gpus ? ", sees the others' GPUs" : ""),
      .communicator_handle = rank == 0 ? std::string(kHandle) : ""};
}

absl::Status FakeStepExecutor::Start(uint64_t num_kv_blocks,
                                     const std::string& communicator_handle) {
  if (communicator_handle != kHandle) {
    return absl::InternalError("the communicator's handle of rank 0 has not come");
  }
  return Has(Fault::kFailStart) ? absl::InternalError("the self-test gave NaN") : absl::OkStatus();
}

absl::Status FakeStepExecutor::Begin(const worker::StepPlan& plan) {
  absl::StatusOr<worker::StepResult> result = Carry(plan);
  if (result.ok()) result_ = *std::move(result);
  return result.status();
}

absl::StatusOr<worker::StepResult> FakeStepExecutor::Carry(const worker::StepPlan& plan) {
  const auto begin = std::chrono::steady_clock::now();
  worker::StepResult result;
  result.step = plan.step;
  result.duration_ns = 1000;
  for (uint32_t slot : plan.released_slots) slots_.erase(slot);
  for (const worker::AdmittedSlot& admitted : plan.admitted) slots_[admitted.slot] = admitted;
  const worker::TokenMasks masks = WaitForMasks(plan);
  for (const worker::ScheduledSlot& scheduled : plan.scheduled) Run(scheduled, masks, result);
  state_hash_ = Mix(state_hash_, plan.step);
  result.state_hash = state_hash_;
  if (plan.step == options_.faulty_step) {
    if (absl::Status status = Misbehave(result); !status.ok()) return status;
  }
  if (rank_ != 0) result.sampled.clear();
  std::this_thread::sleep_until(begin + options_.step_time);
  Trace(plan.step, begin);
  return result;
}

// A trace may end anywhere: its readers do without the closing bracket.
void FakeStepExecutor::Trace(uint64_t step, std::chrono::steady_clock::time_point begin) {
  if (!trace_.is_open()) return;
  const auto microseconds = [](auto duration) {
    return std::chrono::duration<double, std::micro>(duration).count();
  };
  trace_ << std::fixed << (step == 1 ? "[" : ",") << "{\"name\":\"step " << step
         << "\",\"ph\":\"X\",\"pid\":" << rank_
         << ",\"tid\":0,\"ts\":" << microseconds(begin.time_since_epoch())
         << ",\"dur\":" << microseconds(std::chrono::steady_clock::now() - begin) << "}"
         << std::endl;
}

absl::Status FakeStepExecutor::Misbehave(worker::StepResult& result) {
  if (Has(Fault::kCrashAtStep)) std::abort();
  if (Has(Fault::kHangAtStep)) return WaitForAbort();
  if (Has(Fault::kHangHardAtStep)) {
    while (true) pause();
  }
  if (Has(Fault::kFailAtStep)) return absl::InternalError("a kernel failed");
  if (Has(Fault::kThrowAtStep)) throw std::runtime_error("an exception from a tensor");
  if (Has(Fault::kLeaveAtStep)) return absl::UnavailableError("another rank left the collective");
  if (Has(Fault::kWrongHashAtStep)) ++result.state_hash;
  return absl::OkStatus();
}

void FakeStepExecutor::Run(const worker::ScheduledSlot& scheduled, const worker::TokenMasks& masks,
                           worker::StepResult& result) {
  worker::AdmittedSlot& slot = slots_.at(scheduled.slot);
  const uint32_t end = scheduled.position + scheduled.num_tokens;
  for (uint32_t block : scheduled.new_blocks) state_hash_ = Mix(state_hash_, block);
  if (slot.logits != worker::LogitsRequest::kNone) {
    // Row i is filled with its position.
    worker::SlotLogits logits{slot.slot, scheduled.position, scheduled.num_tokens, {}};
    const uint32_t num_columns = NumColumns(scheduled.num_tokens);
    for (uint32_t position = scheduled.position; position < end; ++position) {
      logits.logits.insert(logits.logits.end(), num_columns, static_cast<float>(position));
    }
    result.logits.push_back(std::move(logits));
  } else if (end >= slot.token_ids.size()) {
    uint32_t token = NextToken(slot.token_ids, options_.vocab_size);
    for (const worker::SlotMask& mask : masks.masks) {
      if (mask.slot == slot.slot && !mask.allowed.empty()) token = NextAllowed(token, mask.allowed);
    }
    result.sampled.push_back({slot.slot, end, token, 0.0F, 1, {}});
    slot.token_ids.push_back(token);
  }
}

uint32_t FakeStepExecutor::NumColumns(uint32_t num_rows) const {
  if (num_rows == 1) return rank_ == 0 ? options_.vocab_size : 0;
  const auto begin = [this](int rank) {
    return options_.vocab_size * static_cast<uint32_t>(rank) / static_cast<uint32_t>(world_size_);
  };
  return begin(rank_ + 1) - begin(rank_);
}

uint32_t FakeStepExecutor::NextToken(const std::vector<uint32_t>& tokens, uint32_t vocab_size) {
  uint64_t hash = 0;
  for (uint32_t token : tokens) hash = Mix(hash, token);
  return static_cast<uint32_t>(hash % vocab_size);
}

worker::TokenMasks FakeStepExecutor::WaitForMasks(const worker::StepPlan& plan) {
  const bool has_guided =
      std::any_of(plan.scheduled.begin(), plan.scheduled.end(),
                  [](const worker::ScheduledSlot& scheduled) { return scheduled.guided; });
  if (!has_guided || rank_ != 0) return {};
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return is_aborted_ || !masks_.empty(); });
  if (masks_.empty()) return {};
  worker::TokenMasks masks = std::move(masks_.front());
  masks_.pop_front();
  return masks;
}

void FakeStepExecutor::AddMasks(worker::TokenMasks masks) {
  const std::lock_guard<std::mutex> lock(mutex_);
  masks_.push_back(std::move(masks));
  changed_.notify_all();
}

absl::Status FakeStepExecutor::WaitForAbort() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return is_aborted_; });
  return absl::CancelledError("aborted");
}

void FakeStepExecutor::Abort() {
  const std::lock_guard<std::mutex> lock(mutex_);
  is_aborted_ = true;
  changed_.notify_all();
}

}  // namespace lockstep::testing
