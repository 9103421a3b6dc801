#include "server/worker_pool/step_result.h"

#include <string>
#include <utility>

namespace lockstep::server {
namespace {

LogitShard TakeBytes(std::string& bytes) {
  const auto owner = std::make_shared<const std::string>(std::move(bytes));
  return {*owner, owner};
}

SlotLogits TakeRows(worker::v1::SlotLogits& message) {
  SlotLogits logits{message.slot(), message.position(), message.num_rows(), {}};
  for (std::string& bytes : *message.mutable_shards()) logits.shards.push_back(TakeBytes(bytes));
  return logits;
}

}  // namespace

absl::StatusOr<StepResult> ReadStepResult(worker::v1::StepResult message, OpenColumns open) {
  StepResult result;
  for (worker::v1::SlotLogits& rows : *message.mutable_logits()) {
    SlotLogits& logits = result.logits.emplace_back(TakeRows(rows));
    if (!rows.has_shared()) continue;
    absl::StatusOr<LogitShard> shard = open(rows.shared());
    if (!shard.ok()) return shard.status();
    logits.shards.push_back(*std::move(shard));
  }
  message.clear_logits();
  result.fields = std::move(message);
  return result;
}

}  // namespace lockstep::server
