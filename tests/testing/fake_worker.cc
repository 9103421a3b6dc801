#include "tests/testing/fake_worker.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/testing/fake_model.h"

namespace lockstep::testing {
namespace {

using worker::v1::AdmittedSlot;
using worker::v1::ScheduledSlot;
using worker::v1::StepPlan;
using worker::v1::StepResult;

template <typename... Parts>
absl::Status Broken(const Parts&... parts) {
  return absl::InternalError(absl::StrCat("broken promise: ", parts...));
}

uint64_t NextContext(uint64_t context, int32_t token) {
  return (context ^ static_cast<uint64_t>(token + 1)) * 0x9e3779b97f4a7c15 + (context >> 29);
}

}  // namespace

FakeWorker::FakeWorker(FakeWorkerOptions options)
    : options_(std::move(options)),
      num_holders_(options_.num_kv_blocks, 0),
      last_use_(options_.num_kv_blocks, 0),
      last_write_(options_.num_kv_blocks, 0),
      cache_(size_t{options_.num_kv_blocks} * options_.block_size) {}

absl::Status FakeWorker::Accept(const StepPlan& plan) {
  if (plan.step() != last_accepted_ + 1) {
    return Broken("step ", plan.step(), " follows step ", last_accepted_);
  }
  last_accepted_ = plan.step();
  if (accepted_.size() >= options_.max_steps_in_flight) {
    return Broken("step ", plan.step(), " while ", accepted_.size(), " are in flight");
  }
  absl::Status status;
  for (uint32_t slot : plan.released_slots()) status.Update(AcceptRelease(slot));
  for (const AdmittedSlot& admitted : plan.admitted()) status.Update(AcceptAdmission(admitted));
  status.Update(CheckBatch(plan));
  for (const ScheduledSlot& row : plan.scheduled()) status.Update(AcceptRow(row, plan.step()));
  accepted_.push_back(plan);
  return status;
}

absl::Status FakeWorker::Accept(const worker::v1::TokenMasks& masks) {
  const auto plan = std::find_if(accepted_.begin(), accepted_.end(),
                                 [&](const StepPlan& each) { return each.step() == masks.step(); });
  if (plan == accepted_.end()) return Broken("masks of step ", masks.step(), ", which is not here");
  if (!masks_.empty() && masks_.back().step() >= masks.step()) {
    return Broken("masks of step ", masks.step(), " after those of ", masks_.back().step());
  }
  std::set<uint32_t> guided;
  for (const ScheduledSlot& row : plan->scheduled()) {
    if (row.guided()) guided.insert(row.slot());
  }
  std::set<uint32_t> masked;
  for (const worker::v1::SlotMask& mask : masks.masks()) {
    masked.insert(mask.slot());
    const auto num_words = static_cast<size_t>(options_.vocab_size + 31) / 32;
    if (!mask.allowed().empty() && mask.allowed().size() != num_words * sizeof(uint32_t)) {
      return Broken("the mask of slot ", mask.slot(), " has ", mask.allowed().size(), " bytes");
    }
  }
  if (guided != masked) return Broken("the masks of step ", masks.step(), " are not its rows'");
  masks_.push_back(masks);
  return absl::OkStatus();
}

bool FakeWorker::CanRun() const {
  if (accepted_.empty()) return false;
  const StepPlan& plan = accepted_.front();
  const bool has_masks = !masks_.empty() && masks_.front().step() == plan.step();
  return has_masks || std::none_of(plan.scheduled().begin(), plan.scheduled().end(),
                                   [](const ScheduledSlot& row) { return row.guided(); });
}

absl::Status FakeWorker::AcceptRelease(uint32_t slot) {
  const auto it = promised_.find(slot);
  if (it == promised_.end()) return Broken("slot ", slot, " is released, but not taken");
  for (uint32_t block : it->second.blocks) --num_holders_[block];
  promised_.erase(it);
  return absl::OkStatus();
}

absl::Status FakeWorker::AcceptAdmission(const AdmittedSlot& admitted) {
  const auto num_tokens = static_cast<uint32_t>(admitted.token_ids_size());
  if (admitted.slot() >= options_.max_num_seqs) {
    return Broken("slot ", admitted.slot(), " of ", options_.max_num_seqs);
  }
  if (num_tokens == 0 || num_tokens > options_.max_model_len) {
    return Broken("slot ", admitted.slot(), " is admitted with ", num_tokens, " tokens");
  }
  for (uint32_t token : admitted.token_ids()) {
    if (token >= static_cast<uint32_t>(options_.vocab_size)) return Broken("token ", token);
  }
  PromisedSlot slot;
  slot.num_known_tokens = num_tokens;
  slot.samples = admitted.logits() == worker::v1::LOGITS_NONE;
  if (!promised_.try_emplace(admitted.slot(), std::move(slot)).second) {
    return Broken("slot ", admitted.slot(), " is admitted twice");
  }
  return absl::OkStatus();
}

absl::Status FakeWorker::CheckBatch(const StepPlan& plan) const {
  if (plan.scheduled().empty()) return Broken("step ", plan.step(), " runs nothing");
  uint64_t num_tokens = 0;
  bool prefills_began = false;
  std::set<uint32_t> slots;
  for (const ScheduledSlot& row : plan.scheduled()) {
    num_tokens += row.num_tokens();
    if (!slots.insert(row.slot()).second) return Broken("slot ", row.slot(), " has two rows");
    const auto slot = promised_.find(row.slot());
    const bool decode = row.num_tokens() == 1 && slot != promised_.end() &&
                        row.position() + 1 == slot->second.num_known_tokens;
    if (decode && prefills_began) return Broken("a decode after a prefill, slot ", row.slot());
    prefills_began |= !decode;
  }
  if (num_tokens > options_.max_num_batched_tokens) {
    return Broken("step ", plan.step(), " runs ", num_tokens, " tokens, more than ",
                  options_.max_num_batched_tokens);
  }
  return absl::OkStatus();
}

absl::Status FakeWorker::AcceptRow(const ScheduledSlot& row, uint64_t step) {
  const auto it = promised_.find(row.slot());
  if (it == promised_.end()) return Broken("slot ", row.slot(), " runs, but is not taken");
  PromisedSlot& slot = it->second;
  const uint32_t end = row.position() + row.num_tokens();
  const bool begins = !slot.num_run.has_value();
  if (begins ? row.position() % options_.block_size != 0 : row.position() != *slot.num_run) {
    return Broken("slot ", row.slot(), " runs from position ", row.position(), ", and ",
                  slot.num_run.value_or(0), " is next");
  }
  if (row.num_tokens() == 0) return Broken("slot ", row.slot(), " runs nothing");
  if (end > slot.num_known_tokens || end > options_.max_model_len) {
    return Broken("slot ", row.slot(), " runs up to position ", end, ", knowing ",
                  slot.num_known_tokens, " tokens");
  }
  absl::Status status = AcceptBlocks(row, step);
  if (!status.ok()) return status;
  slot.num_run = end;
  if (end == slot.num_known_tokens && slot.samples) ++slot.num_known_tokens;
  return absl::OkStatus();
}

absl::Status FakeWorker::AcceptBlocks(const ScheduledSlot& row, uint64_t step) {
  PromisedSlot& slot = promised_.at(row.slot());
  for (uint32_t block : row.new_blocks()) {
    if (block >= options_.num_kv_blocks) return Broken("block ", block);
    slot.blocks.push_back(block);
    // A block of a prefix that is there already.
    const bool shared = slot.blocks.size() * options_.block_size <= row.position();
    if (!shared && num_holders_[block] > 0) {
      return Broken("block ", block, ", which is held, goes to slot ", row.slot());
    }
    const uint64_t newest = shared ? last_write_[block] : last_use_[block];
    if (newest > last_run_) {
      return Broken("block ", block, " goes to slot ", row.slot(), " while step ", newest,
                    " is in flight");
    }
    ++num_holders_[block];
  }
  const uint64_t num_places = uint64_t{slot.blocks.size()} * options_.block_size;
  if (row.position() + row.num_tokens() > num_places) {
    return Broken("slot ", row.slot(), " runs beyond its ", slot.blocks.size(), " blocks");
  }
  if (num_places >= uint64_t{slot.num_known_tokens} + options_.block_size) {
    return Broken("slot ", row.slot(), " holds ", slot.blocks.size(), " blocks for ",
                  slot.num_known_tokens, " tokens");
  }
  for (uint32_t block : slot.blocks) last_use_[block] = step;
  const uint32_t last_written = (row.position() + row.num_tokens() - 1) / options_.block_size;
  for (uint32_t i = row.position() / options_.block_size; i <= last_written; ++i) {
    const uint32_t block = slot.blocks[i];
    if (num_holders_[block] > 1) return Broken("slot ", row.slot(), " writes shared block ", block);
    last_write_[block] = step;
  }
  return absl::OkStatus();
}

absl::StatusOr<StepResult> FakeWorker::Run() {
  if (accepted_.empty()) return Broken("no step to run");
  const StepPlan plan = std::move(accepted_.front());
  accepted_.pop_front();
  for (uint32_t slot : plan.released_slots()) slots_.erase(slot);
  for (const AdmittedSlot& admitted : plan.admitted()) {
    slots_[admitted.slot()] = Slot{{admitted.token_ids().begin(), admitted.token_ids().end()},
                                   admitted.sampling(),
                                   admitted.logits(),
                                   {},
                                   {}};
    if (admitted.has_num_prompt_logprobs()) {
      slots_[admitted.slot()].num_prompt_logprobs = admitted.num_prompt_logprobs();
    }
  }
  worker::v1::TokenMasks masks;
  if (!masks_.empty() && masks_.front().step() == plan.step()) {
    masks = std::move(masks_.front());
    masks_.pop_front();
  }
  StepResult result;
  for (const ScheduledSlot& row : plan.scheduled()) {
    absl::Status status = RunRow(row, masks, result);
    if (!status.ok()) return status;
    state_hash_ = state_hash_ * 31 + row.slot() + row.position();
  }
  last_run_ = plan.step();
  result.set_step(plan.step());
  result.set_state_hash(state_hash_);
  result.set_duration_ns(options_.step_duration_ns);
  return result;
}

absl::Status FakeWorker::RunRow(const ScheduledSlot& row, const worker::v1::TokenMasks& masks,
                                StepResult& result) {
  const auto it = slots_.find(row.slot());
  if (it == slots_.end()) return Broken("slot ", row.slot(), " runs, but is not taken");
  Slot& slot = it->second;
  slot.blocks.insert(slot.blocks.end(), row.new_blocks().begin(), row.new_blocks().end());
  const uint32_t end = row.position() + row.num_tokens();
  if (end > slot.tokens.size()) return Broken("position ", end - 1, " has no token yet");
  uint64_t context = 0;
  for (uint32_t position = 0; position < end; ++position) {
    context = NextContext(context, slot.tokens[position]);
    if (position < row.position()) continue;
    const uint32_t block = slot.blocks[position / options_.block_size];
    cache_[size_t{block} * options_.block_size + position % options_.block_size] = {
        slot.tokens[position], position, context};
  }
  absl::StatusOr<std::vector<int32_t>> tokens = ReadCache(slot, end);
  if (!tokens.ok()) return tokens.status();
  if (slot.num_prompt_logprobs.has_value()) ReportPromptTokens(row, slot, result);
  if (slot.logits != worker::v1::LOGITS_NONE) {
    ReportLogits(row, slot, *tokens, result);
  } else if (end == slot.tokens.size()) {
    std::string mask;
    for (const worker::v1::SlotMask& each : masks.masks()) {
      if (each.slot() == row.slot()) mask = each.allowed();
    }
    Sample(row.slot(), slot, *tokens, mask, result);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> FakeWorker::ReadCache(const Slot& slot, uint32_t end) const {
  std::vector<int32_t> tokens;
  tokens.reserve(end);
  uint64_t context = 0;
  for (uint32_t position = 0; position < end; ++position) {
    const uint32_t block = slot.blocks[position / options_.block_size];
    const Cell& cell = cache_[size_t{block} * options_.block_size + position % options_.block_size];
    context = NextContext(context, slot.tokens[position]);
    if (cell.position != position || cell.token != slot.tokens[position] ||
        cell.context != context) {
      return Broken("block ", block, " holds a token of another context at position ", position);
    }
    tokens.push_back(cell.token);
  }
  return tokens;
}

void FakeWorker::Sample(uint32_t slot_number, Slot& slot, absl::Span<const int32_t> tokens,
                        const std::string& mask, StepResult& result) const {
  int32_t token = options_.next_token ? options_.next_token(tokens, slot.sampling)
                                      : FakeNextToken(tokens, slot.sampling, options_.vocab_size);
  worker::v1::SampledToken& sampled = *result.add_sampled();
  sampled.set_logits_not_finite(token < 0);
  token = std::max(token, 0);
  if (!mask.empty()) token = NextAllowedToken(token, mask, options_.vocab_size);
  sampled.set_slot(slot_number);
  sampled.set_position(static_cast<uint32_t>(slot.tokens.size()));
  sampled.set_token_id(static_cast<uint32_t>(token));
  if (slot.sampling.num_logprobs() >= 0) {
    sampled.set_logprob(-0.5F);
    sampled.set_rank(1);
  }
  for (int32_t i = 0; i < slot.sampling.num_logprobs() && i < options_.vocab_size; ++i) {
    worker::v1::TokenLogprob& alternative = *sampled.add_top();
    alternative.set_token_id(static_cast<uint32_t>((token + i) % options_.vocab_size));
    alternative.set_logprob(-0.5F - static_cast<float>(i));
  }
  slot.tokens.push_back(token);
}

void FakeWorker::ReportLogits(const ScheduledSlot& row, const Slot& slot,
                              absl::Span<const int32_t> tokens, StepResult& result) const {
  const auto end = static_cast<uint32_t>(tokens.size());
  uint32_t begin = row.position();
  if (slot.logits == worker::v1::LOGITS_LAST) {
    if (end != slot.tokens.size()) return;
    begin = end - 1;
  }
  for (; begin < end; begin += options_.max_rows_per_part) {
    ReportRows(row.slot(), begin, std::min(end, begin + options_.max_rows_per_part), tokens,
               result);
  }
}

void FakeWorker::ReportPromptTokens(const ScheduledSlot& row, const Slot& slot,
                                    StepResult& result) const {
  const uint32_t end =
      std::min(row.position() + row.num_tokens() + 1, slot.sampling.num_prompt_tokens());
  for (uint32_t position = row.position() + 1; position < end; ++position) {
    worker::v1::SampledToken& token = *result.add_prompt_tokens();
    token.set_slot(row.slot());
    token.set_position(position);
    token.set_token_id(static_cast<uint32_t>(slot.tokens[position]));
    token.set_logprob(-static_cast<float>(position));
    token.set_rank(1);
  }
}

void FakeWorker::ReportRows(uint32_t slot, uint32_t begin, uint32_t end,
                            absl::Span<const int32_t> tokens, StepResult& result) const {
  worker::v1::SlotLogits& logits = *result.add_logits();
  logits.set_slot(slot);
  logits.set_position(begin);
  logits.set_num_rows(end - begin);
  const bool is_sharded = end - begin > 1;
  const size_t split = is_sharded ? static_cast<size_t>(options_.vocab_size) / 3 : 0;
  if (is_sharded) logits.add_shards();
  logits.add_shards();
  for (uint32_t position = begin; position < end; ++position) {
    const std::vector<float> values =
        FakeLogits(tokens.subspan(0, position + 1), options_.vocab_size);
    const auto* bytes = reinterpret_cast<const char*>(values.data());
    logits.mutable_shards(0)->append(bytes, split * sizeof(float));
    logits.mutable_shards()->rbegin()->append(bytes + split * sizeof(float),
                                              (values.size() - split) * sizeof(float));
  }
}

}  // namespace lockstep::testing
