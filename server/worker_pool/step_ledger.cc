#include "server/worker_pool/step_ledger.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep::server {
namespace {

using worker::v1::StepResult;

// Appends the logits of `part`, in front of which `whole` stands, and takes over everything else.
void JoinPart(StepResult& whole, StepResult part) {
  auto* logits = whole.mutable_logits();
  for (auto& rows : *part.mutable_logits()) *logits->Add() = std::move(rows);
  part.mutable_logits()->Swap(logits);
  whole = std::move(part);
}

}  // namespace

absl::Status StepLedger::Submit(uint64_t step, absl::Time now) {
  const uint64_t expected = num_complete_ + pending_.size() + 1;
  if (step != expected) {
    return absl::InternalError(
        absl::StrCat("step ", step, " was submitted where step ", expected, " was due"));
  }
  if (pending_.empty()) oldest_since_ = now;
  pending_.push_back({std::vector<uint64_t>(world_size_, 0), 0, {}});
  return absl::OkStatus();
}

absl::Status StepLedger::Answer(uint32_t rank, StepResult result, absl::Time now,
                                std::vector<StepResult>& complete) {
  const uint64_t expected = num_answered_[rank] + 1;
  if (result.step() != expected || expected > num_complete_ + pending_.size()) {
    return absl::InternalError(absl::StrCat("rank ", rank, " answered step ", result.step(),
                                            " where its next was ", expected, ", of ",
                                            num_complete_ + pending_.size(), " submitted"));
  }
  PendingStep& step = pending_[expected - num_complete_ - 1];
  const bool is_whole = !result.more();
  step.hashes[rank] = result.state_hash();
  if (rank == 0) JoinPart(step.result, std::move(result));
  if (!is_whole) return absl::OkStatus();
  num_answered_[rank] = expected;
  ++step.num_answers;

  while (!pending_.empty() && pending_.front().num_answers == world_size_) {
    if (absl::Status status = CheckAgreement(pending_.front()); !status.ok()) return status;
    complete.push_back(std::move(pending_.front().result));
    pending_.pop_front();
    ++num_complete_;
    oldest_since_ = now;
  }
  return absl::OkStatus();
}

absl::Status StepLedger::CheckAgreement(const PendingStep& step) const {
  std::map<uint64_t, std::vector<uint32_t>> ranks_by_hash;
  for (uint32_t rank = 0; rank < world_size_; ++rank) {
    ranks_by_hash[step.hashes[rank]].push_back(rank);
  }
  if (ranks_by_hash.size() == 1) return absl::OkStatus();
  std::vector<std::string> parties;
  for (const auto& [hash, ranks] : ranks_by_hash) {
    parties.push_back(absl::StrFormat("%016x on rank %s", hash, absl::StrJoin(ranks, ", ")));
  }
  return absl::InternalError(absl::StrCat("ranks disagree about the state after step ",
                                          oldest_step(), ": hash ",
                                          absl::StrJoin(parties, "; hash ")));
}

std::vector<uint32_t> StepLedger::RanksWithoutAnswer() const {
  std::vector<uint32_t> ranks;
  for (uint32_t rank = 0; rank < world_size_; ++rank) {
    if (num_answered_[rank] < oldest_step()) ranks.push_back(rank);
  }
  return ranks;
}

}  // namespace lockstep::server
