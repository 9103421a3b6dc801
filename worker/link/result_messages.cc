#include "worker/link/result_messages.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>

#include "lockstep/worker/v1/control_link.pb.h"
#include "proto/wire_message.h"

namespace lockstep::worker {
namespace {

static_assert(std::endian::native == std::endian::little);  // as the messages' floats

void SetSampled(const SampledToken& token, v1::SampledToken& message) {
  message.set_slot(token.slot);
  message.set_position(token.position);
  message.set_token_id(token.token_id);
  message.set_logprob(token.logprob);
  message.set_rank(token.rank);
  for (const TokenLogprob& alternative : token.top) {
    v1::TokenLogprob& top = *message.add_top();
    top.set_token_id(alternative.token_id);
    top.set_logprob(alternative.logprob);
  }
}

// Rows of one slot's logits, in their place.
struct LogitRows {
  uint32_t slot = 0;
  uint32_t position = 0;
  uint32_t num_rows = 0;
  grpc::Slice bytes;
};

// Cuts the logits, if there are some, into pieces of at most `max_rows`.
void Cut(SlotLogits logits, uint32_t max_rows, std::vector<LogitRows>& pieces) {
  if (logits.logits.empty()) return;
  const auto owner = std::make_shared<const UnfilledVector<float>>(std::move(logits.logits));
  const size_t row_floats = owner->size() / logits.num_rows;
  const size_t row_bytes = row_floats * sizeof(float);
  for (uint32_t row = 0; row < logits.num_rows; row += max_rows) {
    const uint32_t num_rows = std::min(max_rows, logits.num_rows - row);
    pieces.push_back({logits.slot, logits.position + row, num_rows,
                      SliceOf(owner->data() + row * row_floats, num_rows * row_bytes, owner)});
  }
}

WireMessage Encode(LogitRows rows) {
  v1::SlotLogits fields;
  fields.set_slot(rows.slot);
  fields.set_position(rows.position);
  fields.set_num_rows(rows.num_rows);
  WireMessage message;
  message.AddFields(fields);
  message.AddBytes(v1::SlotLogits::kShardsFieldNumber, {std::move(rows.bytes)});
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
