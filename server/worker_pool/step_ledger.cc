#include "server/worker_pool/step_ledger.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep::server {
namespace {

// Appends the logits of `part` and takes over everything else.
void JoinPart(StepResult& whole, StepResult part) {
  std::move(part.logits.begin(), part.logits.end(), std::back_inserter(whole.logits));
  whole.fields = std::move(part.fields);
}

// Moves a rank's shards behind those of the same rows in `logits`. False if there are none.
bool AddShards(std::vector<SlotLogits> shards, std::vector<SlotLogits>& logits) {
  auto rows = logits.begin();
  for (SlotLogits& shard : shards) {
    const auto is_same = [&](const SlotLogits& other) {
      return other.slot == shard.slot && other.position == shard.position &&
             other.num_rows == shard.num_rows;
    };
    rows = std::find_if(rows, logits.end(), is_same);
    if (rows == logits.end()) return false;
    std::move(shard.shards.begin(), shard.shards.end(), std::back_inserter(rows->shards));
    ++rows;
  }
  return true;
}

}  // namespace

absl::Status StepLedger::Submit(uint64_t step, absl::Time now) {
  const uint64_t expected = num_complete_ + pending_.size() + 1;
  if (step != expected) {
    return absl::InternalError(
        absl::StrCat("step ", step, " was submitted where step ", expected, " was due"));
  }
  if (pending_.empty()) oldest_since_ = now;
  pending_.push_back({std::vector<StepResult>(world_size_), 0});
  return absl::OkStatus();
}

absl::Status StepLedger::Answer(uint32_t rank, StepResult result, absl::Time now,
                                std::vector<StepResult>& complete) {
  const uint64_t expected = num_answered_[rank] + 1;
  if (result.fields.step() != expected || expected > num_complete_ + pending_.size()) {
    return absl::InternalError(absl::StrCat("rank ", rank, " answered step ", result.fields.step(),
                                            " where its next was ", expected, ", of ",
                                            num_complete_ + pending_.size(), " submitted"));
  }
  PendingStep& step = pending_[expected - num_complete_ - 1];
  const bool is_whole = !result.fields.more();
  JoinPart(step.answers[rank], std::move(result));
  if (!is_whole) return absl::OkStatus();
  num_answered_[rank] = expected;
  ++step.num_answers;

  while (!pending_.empty() && pending_.front().num_answers == world_size_) {
    if (absl::Status status = CheckAgreement(pending_.front()); !status.ok()) return status;
    absl::StatusOr<StepResult> joined = Join(std::move(pending_.front()));
    if (!joined.ok()) return joined.status();
    complete.push_back(*std::move(joined));
    pending_.pop_front();
    ++num_complete_;
    oldest_since_ = now;
  }
  return absl::OkStatus();
}

absl::Status StepLedger::CheckAgreement(const PendingStep& step) const {
  std::map<uint64_t, std::vector<uint32_t>> ranks_by_hash;
  for (uint32_t rank = 0; rank < world_size_; ++rank) {
    ranks_by_hash[step.answers[rank].fields.state_hash()].push_back(rank);
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

absl::StatusOr<StepResult> StepLedger::Join(PendingStep step) const {
  StepResult whole = std::move(step.answers[0]);
  for (uint32_t rank = 1; rank < world_size_; ++rank) {
    StepResult& other = step.answers[rank];
    whole.fields.set_duration_ns(std::max(whole.fields.duration_ns(), other.fields.duration_ns()));
    if (!AddShards(std::move(other.logits), whole.logits)) {
      return absl::InternalError(absl::StrCat("rank ", rank, " answered step ", oldest_step(),
                                              " with logits of rows that rank 0 has not"));
    }
  }
  return whole;
}

std::vector<uint32_t> StepLedger::RanksWithoutAnswer() const {
  std::vector<uint32_t> ranks;
  for (uint32_t rank = 0; rank < world_size_; ++rank) {
    if (num_answered_[rank] < oldest_step()) ranks.push_back(rank);
  }
  return ranks;
}

}  // namespace lockstep::server
