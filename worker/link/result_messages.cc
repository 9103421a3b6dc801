#include "worker/link/result_messages.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <optional>
#include <utility>

#include "lockstep/worker/v1/control_link.pb.h"
#include "proto/wire_message.h"
#include "worker/memory/result_memory.h"
#include "worker/memory/unfilled_vector.h"

namespace lockstep::worker {
namespace {

static_assert(std::endian::native == std::endian::little);  // as the messages' floats

void SetSampled(const SampledToken& token, v1::SampledToken& message) {
  message.set_slot(token.slot);
  message.set_position(token.position);
  message.set_token_id(token.token_id);
  message.set_logits_not_finite(token.is_broken);
  message.set_logprob(token.logprob);
  message.set_rank(token.rank);
  for (const TokenLogprob& alternative : token.top) {
    v1::TokenLogprob& top = *message.add_top();
    top.set_token_id(alternative.token_id);
    top.set_logprob(alternative.logprob);
  }
}

// Rows of one slot's logits: `fields` say where they belong and, where the frontend reads them from
// its file, where they lie; otherwise they are `bytes`.
struct LogitRows {
  v1::SlotLogits fields;
  grpc::Slice bytes;
};

// Cuts the logits, if there are some, into pieces of at most `max_rows`.
void Cut(SlotLogits logits, uint32_t max_rows, std::vector<LogitRows>& pieces) {
  if (logits.logits.empty()) return;
  const auto owner = std::make_shared<const UnfilledVector<float>>(std::move(logits.logits));
  const size_t row_floats = owner->size() / logits.num_rows;
  const size_t row_bytes = row_floats * sizeof(float);
  const uint32_t num_pieces = (logits.num_rows + max_rows - 1) / max_rows;
  const std::optional<ResultMemory::Place> place =
      ResultMemory::OfProcess().Lend(owner->data(), num_pieces);
  for (uint32_t row = 0; row < logits.num_rows; row += max_rows) {
    const uint32_t num_rows = std::min(max_rows, logits.num_rows - row);
    LogitRows& rows = pieces.emplace_back();
    rows.fields.set_slot(logits.slot);
    rows.fields.set_position(logits.position + row);
    rows.fields.set_num_rows(num_rows);
    if (place.has_value()) {
      v1::SharedColumns& shared = *rows.fields.mutable_shared();
      shared.set_block(place->block);
      shared.set_block_offset(place->offset);
      shared.set_block_bytes(place->num_bytes);
      shared.set_offset(row * row_bytes);
      shared.set_num_bytes(num_rows * row_bytes);
    } else {
      rows.bytes = SliceOf(owner->data() + row * row_floats, num_rows * row_bytes, owner);
    }
  }
}

WireMessage Encode(LogitRows rows) {
  WireMessage message;
  message.AddFields(rows.fields);
  if (!rows.fields.has_shared()) {
    message.AddBytes(v1::SlotLogits::kShardsFieldNumber, {std::move(rows.bytes)});
  }
  return message;
}

// The StepResult whose logits are in `logits` and whose other fields are in `fields`.
grpc::ByteBuffer Finish(WireMessage logits, const v1::StepResult& fields) {
  logits.AddFields(fields);
  WireMessage message;
  message.AddMessage(v1::WorkerMessage::kStepResultFieldNumber, std::move(logits));
  return message.Take();
}

}  // namespace

std::vector<grpc::ByteBuffer> EncodeResult(StepResult result, const ResultLimits& limits) {
  std::vector<LogitRows> pieces;
  for (SlotLogits& logits : result.logits) Cut(std::move(logits), limits.max_rows, pieces);

  std::vector<grpc::ByteBuffer> messages;
  v1::StepResult fields;
  fields.set_step(result.step);
  fields.set_more(true);
  WireMessage part;
  size_t part_bytes = 0;
  for (LogitRows& rows : pieces) {
    const size_t num_bytes = rows.bytes.size();
    if (part_bytes > 0 && part_bytes + num_bytes > limits.max_part_bytes) {
      messages.push_back(Finish(std::exchange(part, WireMessage()), fields));
      part_bytes = 0;
    }
    part_bytes += num_bytes;
    part.AddMessage(v1::StepResult::kLogitsFieldNumber, Encode(std::move(rows)));
  }
  fields.set_more(false);
  fields.set_state_hash(result.state_hash);
  fields.set_duration_ns(result.duration_ns);
  for (const SampledToken& token : result.sampled) SetSampled(token, *fields.add_sampled());
  for (const SampledToken& token : result.prompt_tokens) {
    SetSampled(token, *fields.add_prompt_tokens());
  }
  messages.push_back(Finish(std::move(part), fields));
  return messages;
}

}  // namespace lockstep::worker
