#include "server/worker_pool/pool_protocol.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lockstep::server {
namespace {

using google::protobuf::util::TimeUtil;
using worker::v1::FrontendMessage;
using worker::v1::WorkerMessage;

// Takes as long for a near miss as for a far one.
bool SameSecret(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

// "rank 1" or "ranks 1, 3".
std::string RankList(const std::vector<uint32_t>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

// Whether a rank that reports this may only have felt the end of another rank.
bool MayBeConsequence(const worker::v1::Failure& failure) {
  const auto code = static_cast<absl::StatusCode>(failure.code());
  return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kCancelled ||
         code == absl::StatusCode::kAborted || code == absl::StatusCode::kDeadlineExceeded;
}

}  // namespace

PoolProtocol::PoolProtocol(const PoolOptions& options, std::string version, PoolActions& actions,
                           absl::Time now)
    : options_(options),
      version_(std::move(version)),
      actions_(actions),
      start_deadline_(now + options.start_timeout),
      ranks_(options.world_size),
      ledger_(options.world_size) {
  for (Rank& rank : ranks_) rank.last_heard = now;
}

void PoolProtocol::OnSpawned(uint32_t rank, int pid) {
  ranks_[rank].pid = static_cast<uint32_t>(pid);
}

void PoolProtocol::OnAttached(LinkId link, absl::Time now) {
  if (is_over()) {
    actions_.Refuse(link, absl::UnavailableError("the pool has ended"));
  } else {
    silent_links_[link] = now;
  }
}

void PoolProtocol::OnMessage(LinkId link, WorkerMessage message, absl::Time now) {
  if (is_over()) return;
  if (silent_links_.erase(link) > 0) {
    if (message.has_hello()) return OnHello(link, message.hello(), now);
    return actions_.Refuse(link, absl::FailedPreconditionError("the first message must be hello"));
  }
  const auto it = rank_of_link_.find(link);
  if (it == rank_of_link_.end()) return;  // refused, and not gone yet
  const uint32_t rank = it->second;
  ranks_[rank].last_heard = now;
  switch (message.message_case()) {
    case WorkerMessage::kLoadProgress:
      ranks_[rank].progress = message.load_progress();
      return;
    case WorkerMessage::kLoaded:
      return OnLoaded(rank, message.loaded());
    case WorkerMessage::kReady:
      return OnReady(rank, message.ready());
    case WorkerMessage::kStepResult:
      return OnStepResult(rank, std::move(*message.mutable_step_result()), now);
    case WorkerMessage::kFailure:
      return OnFailure(rank, message.failure(), now);
    case WorkerMessage::kHello:
    case WorkerMessage::MESSAGE_NOT_SET:
      return FailUnexpected(rank, "a message out of place");
  }
}

absl::Status PoolProtocol::CheckHello(const worker::v1::Hello& hello) const {
  if (!options_.token.empty() && !SameSecret(hello.pool_token(), options_.token)) {
    return absl::PermissionDeniedError(
        "wrong pool token: set LOCKSTEP_POOL_TOKEN to the same secret for server and workers");
  }
  if (hello.version() != version_) {
    return absl::FailedPreconditionError(absl::StrCat("the worker is version ", hello.version(),
                                                      ", the server ", version_,
                                                      ": install the same"));
  }
  if (hello.world_size() != ranks_.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the worker's world size is ", hello.world_size(), ", the server's ",
                     ranks_.size(), ": make --world-size and --tensor-parallel-size equal"));
  }
  if (hello.rank() >= ranks_.size()) {
    return absl::OutOfRangeError(
        absl::StrCat("rank ", hello.rank(), " is not below the world size of ", ranks_.size()));
  }
  if (ranks_[hello.rank()].had_link) {
    return absl::AlreadyExistsError(
        absl::StrCat("rank ", hello.rank(), " is taken by pid ", ranks_[hello.rank()].pid, " on ",
                     ranks_[hello.rank()].host, ": give each worker a rank of its own"));
  }
  return absl::OkStatus();
}

void PoolProtocol::OnHello(LinkId link, const worker::v1::Hello& hello, absl::Time now) {
  if (absl::Status status = CheckHello(hello); !status.ok()) return actions_.Refuse(link, status);
  Rank& rank = ranks_[hello.rank()];
  rank.stage = Stage::kLoading;
  rank.link = link;
  rank.had_link = true;
  rank.pid = hello.pid();
  rank.host = hello.host();
  rank.last_heard = now;
  rank_of_link_[link] = hello.rank();
  if (!AllReached(Stage::kLoading)) return;
  FrontendMessage message;
  *message.mutable_configure() = options_.configure;
  actions_.Send(RankLinks(), message);
  actions_.AllAttached();
}

void PoolProtocol::OnLoaded(uint32_t rank, const worker::v1::Loaded& loaded) {
  if (ranks_[rank].stage != Stage::kLoading || !AllReached(Stage::kLoading)) {
    return FailUnexpected(rank, "loaded");
  }
  ranks_[rank].stage = Stage::kLoaded;
  ranks_[rank].loaded = loaded;
  if (!AllReached(Stage::kLoaded)) return;
  num_kv_blocks_ = ranks_[0].loaded.num_kv_blocks();
  for (const Rank& each : ranks_) {
    num_kv_blocks_ = std::min(num_kv_blocks_, each.loaded.num_kv_blocks());
  }
  FrontendMessage message;
  message.mutable_start()->set_num_kv_blocks(num_kv_blocks_);
  message.mutable_start()->set_communicator_handle(ranks_[0].loaded.communicator_handle());
  actions_.Send(RankLinks(), message);
}

void PoolProtocol::OnReady(uint32_t rank, const worker::v1::Ready& ready) {
  if (ranks_[rank].stage != Stage::kLoaded || !AllReached(Stage::kLoaded)) {
    return FailUnexpected(rank, "ready");
  }
  ranks_[rank].stage = Stage::kReady;
  ranks_[rank].ready = ready;
  if (AllReached(Stage::kReady)) actions_.Ready({num_kv_blocks_});
}

void PoolProtocol::OnFailure(uint32_t rank, const worker::v1::Failure& failure, absl::Time now) {
  const absl::Status status =
      absl::UnavailableError(absl::StrCat(Describe(rank), " failed: ", failure.message()));
  ranks_[rank].has_reported = true;
  if (MayBeConsequence(failure)) return Suspect(status, now + kCauseWindow);
  Fail(status);
}

void PoolProtocol::OnStepResult(uint32_t rank, worker::v1::StepResult message, absl::Time now) {
  absl::StatusOr<StepResult> result =
      ReadStepResult(std::move(message), [&](const worker::v1::SharedColumns& columns) {
        return actions_.OpenColumns(rank, columns);
      });
  if (!result.ok()) {
    return Fail(
        absl::UnavailableError(absl::StrCat(Describe(rank), " sent ", result.status().message())));
  }
  std::vector<StepResult> complete;
  const absl::Status status = ledger_.Answer(rank, *std::move(result), now, complete);
  for (StepResult& each : complete) actions_.Complete(std::move(each));
  if (!status.ok()) Fail(absl::UnavailableError(status.message()));
}

void PoolProtocol::FailUnexpected(uint32_t rank, const std::string& what) {
  Fail(absl::UnavailableError(absl::StrCat(Describe(rank), " broke the protocol: it sent ", what,
                                           " where that was not due")));
}

void PoolProtocol::OnClosed(LinkId link, absl::Time now) {
  silent_links_.erase(link);
  const auto it = rank_of_link_.find(link);
  if (it == rank_of_link_.end()) return;
  const uint32_t index = it->second;
  rank_of_link_.erase(it);
  Rank& rank = ranks_[index];
  rank.link.reset();
  if (is_over() || rank.has_reported) return;
  if (!rank.exit.empty()) {
    return Fail(absl::UnavailableError(absl::StrCat(Describe(index), " ", rank.exit)));
  }
  // A worker of ours is about to be seen dead, which says more.
  const absl::Duration patience = options_.external_workers ? absl::ZeroDuration() : kCauseWindow;
  Suspect(absl::UnavailableError(absl::StrCat(Describe(index), " is gone: its link broke")),
          now + patience);
  OnTime(now);
}

void PoolProtocol::OnExited(uint32_t index, const std::string& how, absl::Time now) {
  Rank& rank = ranks_[index];
  if (is_over() || rank.has_reported) return;
  rank.exit = how;
  const absl::Status status = absl::UnavailableError(absl::StrCat(Describe(index), " ", how));
  if (!rank.link.has_value()) return Fail(status);
  // What it said last may still be on its way.
  Suspect(status, now + kCauseWindow);
}

void PoolProtocol::Suspect(const absl::Status& status, absl::Time deadline) {
  if (suspicion_.has_value()) return;
  suspicion_ = status;
  suspicion_deadline_ = deadline;
}

void PoolProtocol::OnTime(absl::Time now) {
  if (is_over()) return;
  if (suspicion_.has_value() && now >= suspicion_deadline_) return Fail(*suspicion_);
  CheckStartDeadline(now);
  CheckStepDeadline(now);
  DropSilentLinks(now);
}

void PoolProtocol::CheckStartDeadline(absl::Time now) {
  if (is_over() || AllReached(Stage::kReady) || now < start_deadline_) return;
  const auto [stage, what] =
      !AllReached(Stage::kLoading)  ? std::pair(Stage::kLoading, "did not dial the server")
      : !AllReached(Stage::kLoaded) ? std::pair(Stage::kLoaded, "did not finish loading")
                                    : std::pair(Stage::kReady, "did not pass the self-test");
  Fail(absl::UnavailableError(absl::StrCat(
      RankList(RanksBefore(stage)), " ", what, " within --start-timeout of ",
      absl::FormatDuration(options_.start_timeout), ": see the workers' log, or raise it")));
}

void PoolProtocol::CheckStepDeadline(absl::Time now) {
  if (is_over() || ledger_.is_idle()) return;
  if (now < ledger_.oldest_since() + options_.step_timeout) return;
  Fail(absl::UnavailableError(absl::StrCat(
      RankList(ledger_.RanksWithoutAnswer()), " did not answer step ", ledger_.oldest_step(),
      " within --step-timeout of ", absl::FormatDuration(options_.step_timeout))));
}

void PoolProtocol::DropSilentLinks(absl::Time now) {
  std::vector<LinkId> silent;
  for (const auto& [link, since] : silent_links_) {
    if (now >= since + kHelloTimeout) silent.push_back(link);
  }
  for (LinkId link : silent) {
    silent_links_.erase(link);
    actions_.Refuse(link, absl::DeadlineExceededError("no hello within 10 s"));
  }
}

absl::Time PoolProtocol::NextDeadline() const {
  if (is_over()) return absl::InfiniteFuture();
  absl::Time next = suspicion_deadline_;
  if (!AllReached(Stage::kReady)) next = std::min(next, start_deadline_);
  if (!ledger_.is_idle()) next = std::min(next, ledger_.oldest_since() + options_.step_timeout);
  for (const auto& [link, since] : silent_links_) next = std::min(next, since + kHelloTimeout);
  return next;
}

void PoolProtocol::Submit(const worker::v1::StepPlan& plan, absl::Time now) {
  if (is_over()) return;
  if (!AllReached(Stage::kReady)) {
    return Fail(absl::InternalError("a step was submitted before the pool was ready"));
  }
  if (absl::Status status = ledger_.Submit(plan.step(), now); !status.ok()) return Fail(status);
  FrontendMessage message;
  *message.mutable_step_plan() = plan;
  actions_.Send(RankLinks(), message);
}

void PoolProtocol::SubmitMasks(const worker::v1::TokenMasks& masks) {
  // A link that has just broken is the failure of the pool, in a moment.
  if (is_over() || !ranks_[0].link.has_value()) return;
  FrontendMessage message;
  *message.mutable_token_masks() = masks;
  actions_.Send({*ranks_[0].link}, message);
}

void PoolProtocol::Fail(const absl::Status& status) {
  if (is_over()) return;
  failed_ = true;
  actions_.Failed(status);
}

void PoolProtocol::Stop() {
  if (is_over()) return;
  is_stopped_ = true;
  FrontendMessage message;
  message.mutable_shutdown();
  actions_.Send(RankLinks(), message);
}

bool PoolProtocol::AllReached(Stage stage) const { return RanksBefore(stage).empty(); }

std::vector<uint32_t> PoolProtocol::RanksBefore(Stage stage) const {
  std::vector<uint32_t> result;
  for (uint32_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].stage < stage) result.push_back(rank);
  }
  return result;
}

std::vector<LinkId> PoolProtocol::RankLinks() const {
  std::vector<LinkId> links;
  for (const Rank& rank : ranks_) {
    if (rank.link.has_value()) links.push_back(*rank.link);
  }
  return links;
}

std::string PoolProtocol::Describe(uint32_t rank) const {
  const Rank& it = ranks_[rank];
  std::string text = absl::StrCat("rank ", rank);
  if (it.pid != 0) absl::StrAppend(&text, " (pid ", it.pid, ")");
  if (options_.external_workers && !it.host.empty()) absl::StrAppend(&text, " on ", it.host);
  return text;
}

std::vector<v1::RankInfo> PoolProtocol::Ranks(absl::Time now) const {
  std::vector<v1::RankInfo> result(ranks_.size());
  for (uint32_t index = 0; index < ranks_.size(); ++index) {
    const Rank& rank = ranks_[index];
    v1::RankInfo& info = result[index];
    info.set_rank(index);
    info.set_state(failed_                        ? v1::POOL_STATE_FAILED
                   : rank.stage == Stage::kAbsent ? v1::POOL_STATE_STARTING
                   : rank.stage == Stage::kReady  ? v1::POOL_STATE_READY
                                                  : v1::POOL_STATE_LOADING);
    const int64_t age_ns = std::max<int64_t>(0, absl::ToInt64Nanoseconds(now - rank.last_heard));
    *info.mutable_step_age() = TimeUtil::NanosecondsToDuration(age_ns);
    info.set_last_step(ledger_.LastStep(index));
    if (rank.pid != 0) info.set_pid(rank.pid);
    info.set_device(rank.loaded.device_description());
    info.set_bytes_loaded(rank.progress.bytes_loaded());
    info.set_bytes_total(rank.progress.bytes_total());
    info.set_weight_bytes(rank.loaded.weight_bytes());
    info.set_kv_cache_bytes(num_kv_blocks_ * rank.loaded.kv_block_bytes());
    for (const worker::v1::StartPhase& phase : rank.ready.phases()) {
      v1::StartPhase& copy = *info.add_start_phases();
      copy.set_name(phase.name());
      *copy.mutable_duration() =
          TimeUtil::NanosecondsToDuration(static_cast<int64_t>(phase.duration_ns()));
    }
  }
  return result;
}

v1::PoolState PoolProtocol::State() const {
  if (failed_) return v1::POOL_STATE_FAILED;
  if (is_stopped_) return v1::POOL_STATE_DRAINING;
  if (AllReached(Stage::kReady)) return v1::POOL_STATE_READY;
  return AllReached(Stage::kLoading) ? v1::POOL_STATE_LOADING : v1::POOL_STATE_STARTING;
}

}  // namespace lockstep::server
