#include "server/worker_pool/pool_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using worker::v1::FrontendMessage;
using worker::v1::WorkerMessage;

// Writes down what the protocol asks for.
struct RecordedActions : PoolActions {
  void Send(const std::vector<LinkId>& links, const FrontendMessage& message) override {
    sent.emplace_back(links, message);
  }
  void Refuse(LinkId link, const absl::Status& status) override {
    refused.emplace_back(link, status);
  }
  void AllAttached() override { all_attached = true; }
  void Ready(const PoolCapacity& capacity) override { num_kv_blocks = capacity.num_kv_blocks; }
  absl::StatusOr<LogitShard> OpenColumns(uint32_t rank,
                                         const worker::v1::SharedColumns& columns) override {
    opened.emplace_back(rank, columns.block());
    if (columns.num_bytes() == 0) return absl::InternalError("logits of no bytes");
    return LogitShard{"logits", nullptr};
  }
  void Complete(StepResult result) override { completed.push_back(std::move(result)); }
  void Failed(const absl::Status& status) override { failures.push_back(status); }

  std::vector<std::pair<std::vector<LinkId>, FrontendMessage>> sent;
  std::vector<std::pair<LinkId, absl::Status>> refused;
  bool all_attached = false;
  std::optional<uint64_t> num_kv_blocks;
  std::vector<std::pair<uint32_t, uint32_t>> opened;  // ranks and blocks
  std::vector<StepResult> completed;
  std::vector<absl::Status> failures;
};

WorkerMessage Hello(uint32_t rank, uint32_t world_size = 2) {
  WorkerMessage message;
  message.mutable_hello()->set_rank(rank);
  message.mutable_hello()->set_world_size(world_size);
  message.mutable_hello()->set_version("1.0");
  message.mutable_hello()->set_pool_token("secret");
  message.mutable_hello()->set_pid(100 + rank);
  return message;
}

WorkerMessage Loaded(uint64_t num_kv_blocks) {
  WorkerMessage message;
  message.mutable_loaded()->set_num_kv_blocks(num_kv_blocks);
  return message;
}

WorkerMessage Ready() {
  WorkerMessage message;
  worker::v1::StartPhase& phase = *message.mutable_ready()->add_phases();
  phase.set_name("weights");
  phase.set_duration_ns(2'500'000'000);
  return message;
}

WorkerMessage Result(uint64_t step, uint64_t hash = 1) {
  WorkerMessage message;
  message.mutable_step_result()->set_step(step);
  message.mutable_step_result()->set_state_hash(hash);
  return message;
}

WorkerMessage Failure(absl::StatusCode code, const std::string& text) {
  WorkerMessage message;
  message.mutable_failure()->set_code(static_cast<int>(code));
  message.mutable_failure()->set_message(text);
  return message;
}

// A pool of two ranks of its own; rank r has link 10 + r.
class PoolProtocolTest : public ::testing::Test {
 protected:
  PoolProtocolTest() {
    options_.world_size = 2;
    options_.token = "secret";
    options_.configure.set_model_dir("llama");
    options_.step_timeout = absl::Seconds(5);
    options_.start_timeout = absl::Seconds(60);
    Restart();
  }

  void Restart() { protocol_.emplace(options_, "1.0", actions_, now_); }

  void Attach(LinkId link, const WorkerMessage& hello) {
    protocol_->OnAttached(link, now_);
    protocol_->OnMessage(link, hello, now_);
  }
  void From(uint32_t rank, const WorkerMessage& message) {
    protocol_->OnMessage(10 + rank, message, now_);
  }
  void BecomeReady() {
    for (uint32_t rank : {0, 1}) Attach(10 + rank, Hello(rank));
    for (uint32_t rank : {0, 1}) From(rank, Loaded(100 - rank));
    for (uint32_t rank : {0, 1}) From(rank, Ready());
    actions_.sent.clear();
  }
  void Submit(uint64_t step) {
    worker::v1::StepPlan plan;
    plan.set_step(step);
    protocol_->Submit(plan, now_);
  }
  void Advance(absl::Duration duration) {
    now_ += duration;
    protocol_->OnTime(now_);
  }
  std::string FailureText() const {
    EXPECT_EQ(actions_.failures.size(), 1);
    if (actions_.failures.empty()) return "";
    EXPECT_EQ(actions_.failures[0].code(), absl::StatusCode::kUnavailable);
    return std::string(actions_.failures[0].message());
  }

  PoolOptions options_;
  RecordedActions actions_;
  absl::Time now_ = absl::UnixEpoch();
  std::optional<PoolProtocol> protocol_;
};

TEST_F(PoolProtocolTest, EachPhaseBeginsWhenEveryRankHasReachedIt) {
  Attach(11, Hello(1));
  EXPECT_TRUE(actions_.sent.empty());
  Attach(10, Hello(0));
  ASSERT_EQ(actions_.sent.size(), 1);
  EXPECT_THAT(actions_.sent[0].first, ElementsAre(10, 11));
  EXPECT_EQ(actions_.sent[0].second.configure().model_dir(), "llama");
  EXPECT_TRUE(actions_.all_attached);
  EXPECT_EQ(protocol_->State(), v1::POOL_STATE_LOADING);

  From(0, Loaded(100));
  EXPECT_EQ(actions_.sent.size(), 1);
  From(1, Loaded(90));
  ASSERT_EQ(actions_.sent.size(), 2);
  EXPECT_EQ(actions_.sent[1].second.start().num_kv_blocks(), 90);

  From(0, Ready());
  EXPECT_FALSE(actions_.num_kv_blocks.has_value());
  From(1, Ready());
  EXPECT_EQ(actions_.num_kv_blocks, 90);
  EXPECT_EQ(protocol_->State(), v1::POOL_STATE_READY);
}

TEST_F(PoolProtocolTest, EveryRankGetsTheCommunicatorHandleOfRankZero) {
  for (uint32_t rank : {0, 1}) Attach(10 + rank, Hello(rank));
  const std::string handle("\0id", 3);
  WorkerMessage loaded = Loaded(100);
  From(1, loaded);
  loaded.mutable_loaded()->set_communicator_handle(handle);
  From(0, loaded);
  ASSERT_EQ(actions_.sent.size(), 2);
  EXPECT_THAT(actions_.sent[1].first, ElementsAre(10, 11));
  EXPECT_EQ(actions_.sent[1].second.start().communicator_handle(), handle);
}

TEST_F(PoolProtocolTest, RefusesStrangersAndStartsWithoutThem) {
  WorkerMessage wrong_token = Hello(0);
  wrong_token.mutable_hello()->set_pool_token("guess");
  WorkerMessage wrong_version = Hello(0);
  wrong_version.mutable_hello()->set_version("0.9");
  Attach(1, wrong_token);
  Attach(2, wrong_version);
  Attach(3, Hello(0, 4));
  Attach(4, Hello(2));
  Attach(5, Ready());
  Attach(10, Hello(0));
  Attach(6, Hello(0));
  const std::vector<std::string> reasons = {
      "LOCKSTEP_POOL_TOKEN", "version 0.9", "world size is 4",
      "rank 2 is not below", "hello",       "taken by pid 100"};
  ASSERT_EQ(actions_.refused.size(), reasons.size());
  for (size_t i = 0; i < reasons.size(); ++i) {
    EXPECT_THAT(actions_.refused[i].second.message(), HasSubstr(reasons[i]));
  }
  Attach(11, Hello(1));
  EXPECT_EQ(actions_.sent.size(), 1);
  EXPECT_TRUE(actions_.failures.empty());
}

TEST_F(PoolProtocolTest, DropsALinkThatNeverSaysHello) {
  protocol_->OnAttached(7, now_);
  EXPECT_EQ(protocol_->NextDeadline(), now_ + PoolProtocol::kHelloTimeout);
  Advance(PoolProtocol::kHelloTimeout);
  ASSERT_EQ(actions_.refused.size(), 1);
  EXPECT_EQ(actions_.refused[0].first, 7);
}

TEST_F(PoolProtocolTest, AnExitBeforeHelloFailsAtOnce) {
  protocol_->OnSpawned(1, 4711);
  Attach(10, Hello(0));
  protocol_->OnExited(1, "exited with status 127", now_);
  EXPECT_EQ(FailureText(), "rank 1 (pid 4711) exited with status 127");
}

TEST_F(PoolProtocolTest, AKilledWorkerIsNamedWithItsSignalWhicheverIsSeenFirst) {
  for (const bool exit_first : {true, false}) {
    actions_ = RecordedActions();
    Restart();
    BecomeReady();
    if (exit_first) protocol_->OnExited(1, "was killed by signal 9 (Killed)", now_);
    protocol_->OnClosed(11, now_);
    if (!exit_first) protocol_->OnExited(1, "was killed by signal 9 (Killed)", now_);
    EXPECT_EQ(FailureText(), "rank 1 (pid 101) was killed by signal 9 (Killed)");
    EXPECT_EQ(protocol_->State(), v1::POOL_STATE_FAILED);
  }
}

TEST_F(PoolProtocolTest, ABrokenLinkOfALivingWorkerFailsAfterTheCauseWindow) {
  BecomeReady();
  protocol_->OnClosed(10, now_);
  EXPECT_TRUE(actions_.failures.empty());
  EXPECT_EQ(protocol_->NextDeadline(), now_ + PoolProtocol::kCauseWindow);
  Advance(PoolProtocol::kCauseWindow);
  EXPECT_THAT(FailureText(), HasSubstr("rank 0 (pid 100) is gone: its link broke"));
}

TEST_F(PoolProtocolTest, ABrokenLinkOfAnExternalWorkerFailsAtOnce) {
  options_.external_workers = true;
  Restart();
  BecomeReady();
  protocol_->OnClosed(11, now_);
  EXPECT_THAT(FailureText(), HasSubstr("rank 1"));
}

TEST_F(PoolProtocolTest, AReportedFailureSaysMoreThanTheExitThatFollows) {
  for (uint32_t rank : {0, 1}) Attach(10 + rank, Hello(rank));
  From(1, Failure(absl::StatusCode::kDataLoss, "model.safetensors ends early"));
  protocol_->OnClosed(11, now_);
  protocol_->OnExited(1, "exited with status 1", now_);
  EXPECT_EQ(FailureText(), "rank 1 (pid 101) failed: model.safetensors ends early");
}

TEST_F(PoolProtocolTest, TheDeadRankIsBlamedAndNotTheOneThatMissesIt) {
  BecomeReady();
  Submit(1);
  From(0, Failure(absl::StatusCode::kUnavailable, "rank 1 left the collective"));
  EXPECT_TRUE(actions_.failures.empty());
  protocol_->OnClosed(10, now_);
  protocol_->OnExited(0, "exited with status 1", now_);
  protocol_->OnClosed(11, now_);
  protocol_->OnExited(1, "was killed by signal 11 (Segmentation fault)", now_);
  EXPECT_THAT(FailureText(), HasSubstr("rank 1 (pid 101) was killed by signal 11"));
}

TEST_F(PoolProtocolTest, AConsequenceWithoutACauseFailsAfterTheWindow) {
  BecomeReady();
  From(0, Failure(absl::StatusCode::kDeadlineExceeded, "all-reduce timed out"));
  Advance(PoolProtocol::kCauseWindow);
  EXPECT_THAT(FailureText(), HasSubstr("rank 0 (pid 100) failed: all-reduce timed out"));
}

TEST_F(PoolProtocolTest, StepsGoToEveryRankAndComeBackOnce) {
  BecomeReady();
  Submit(1);
  Submit(2);
  ASSERT_EQ(actions_.sent.size(), 2);
  EXPECT_THAT(actions_.sent[1].first, ElementsAre(10, 11));
  for (uint64_t step : {1, 2}) {
    From(1, Result(step));
    From(0, Result(step));
  }
  ASSERT_EQ(actions_.completed.size(), 2);
  EXPECT_EQ(actions_.completed[0].fields.step(), 1);
  EXPECT_EQ(actions_.completed[1].fields.step(), 2);
}

TEST_F(PoolProtocolTest, LogitsThatARankHasLeftInItsFileAreOpened) {
  BecomeReady();
  Submit(1);
  for (uint32_t rank : {0, 1}) {
    WorkerMessage message = Result(1);
    worker::v1::SharedColumns& shared =
        *message.mutable_step_result()->add_logits()->mutable_shared();
    shared.set_block(5 + rank);
    shared.set_num_bytes(6);
    From(rank, message);
  }
  EXPECT_THAT(actions_.opened, ElementsAre(std::pair(0, 5), std::pair(1, 6)));
  ASSERT_EQ(actions_.completed.size(), 1);
  ASSERT_EQ(actions_.completed[0].logits.size(), 1);
  EXPECT_EQ(actions_.completed[0].logits[0].shards.size(), 2);
}

TEST_F(PoolProtocolTest, LogitsThatAreNotInTheRanksFileFailThePoolAndNameTheRank) {
  BecomeReady();
  Submit(1);
  WorkerMessage message = Result(1);
  message.mutable_step_result()->add_logits()->mutable_shared();
  From(1, message);
  EXPECT_THAT(FailureText(), AllOf(HasSubstr("rank 1"), HasSubstr("sent logits of no bytes")));
}

TEST_F(PoolProtocolTest, DisagreeingRanksFailThePool) {
  BecomeReady();
  Submit(1);
  From(0, Result(1, 5));
  From(1, Result(1, 6));
  EXPECT_THAT(FailureText(), HasSubstr("ranks disagree about the state after step 1"));
  EXPECT_TRUE(actions_.completed.empty());
}

TEST_F(PoolProtocolTest, AStepDeadlineNamesTheRanksThatDidNotAnswer) {
  BecomeReady();
  Submit(1);
  From(0, Result(1));
  EXPECT_EQ(protocol_->NextDeadline(), now_ + absl::Seconds(5));
  Advance(absl::Milliseconds(4999));
  EXPECT_TRUE(actions_.failures.empty());
  Advance(absl::Milliseconds(1));
  EXPECT_THAT(FailureText(), AllOf(HasSubstr("rank 1 did not answer step 1"), HasSubstr("5s")));
}

TEST_F(PoolProtocolTest, TheStartDeadlineNamesWhoIsMissingAndWhere) {
  Attach(10, Hello(0));
  Advance(absl::Seconds(60));
  EXPECT_THAT(FailureText(), AllOf(HasSubstr("rank 1 did not dial"), HasSubstr("--start-timeout")));
}

TEST_F(PoolProtocolTest, AReadyPoolHasNoStartDeadline) {
  BecomeReady();
  Advance(absl::Hours(1));
  EXPECT_TRUE(actions_.failures.empty());
}

TEST_F(PoolProtocolTest, AMessageOutOfPlaceFailsThePool) {
  BecomeReady();
  From(1, Loaded(5));
  EXPECT_THAT(FailureText(), HasSubstr("broke the protocol: it sent loaded"));
}

TEST_F(PoolProtocolTest, OnlyTheFirstFailureIsReported) {
  BecomeReady();
  From(0, Failure(absl::StatusCode::kInternal, "first"));
  From(1, Failure(absl::StatusCode::kInternal, "second"));
  protocol_->OnExited(1, "exited", now_);
  Submit(1);
  EXPECT_THAT(FailureText(), HasSubstr("first"));
  EXPECT_TRUE(actions_.sent.empty());
}

TEST_F(PoolProtocolTest, WorkersThatLeaveAfterStopAreNoFailure) {
  BecomeReady();
  protocol_->Stop();
  ASSERT_EQ(actions_.sent.size(), 1);
  EXPECT_TRUE(actions_.sent[0].second.has_shutdown());
  protocol_->OnClosed(10, now_);
  protocol_->OnExited(0, "exited with status 0", now_);
  Advance(absl::Hours(1));
  EXPECT_TRUE(actions_.failures.empty());
}

TEST_F(PoolProtocolTest, RanksReportsWhatTheWorkersSaid) {
  for (uint32_t rank : {0, 1}) Attach(10 + rank, Hello(rank));
  WorkerMessage progress;
  progress.mutable_load_progress()->set_bytes_loaded(3);
  progress.mutable_load_progress()->set_bytes_total(4);
  From(1, progress);
  now_ += absl::Milliseconds(1500);
  const auto ranks = protocol_->Ranks(now_);
  ASSERT_EQ(ranks.size(), 2);
  EXPECT_EQ(ranks[1].state(), v1::POOL_STATE_LOADING);
  EXPECT_EQ(ranks[1].bytes_loaded(), 3);
  EXPECT_EQ(ranks[1].pid(), 101);
  EXPECT_EQ(ranks[1].step_age().seconds(), 1);
  EXPECT_EQ(ranks[1].step_age().nanos(), 500'000'000);
}

TEST_F(PoolProtocolTest, RanksReportsWhatTheStartTookOnceTheyAreReady) {
  for (uint32_t rank : {0, 1}) Attach(10 + rank, Hello(rank));
  for (uint32_t rank : {0, 1}) From(rank, Loaded(10));
  EXPECT_EQ(protocol_->Ranks(now_)[1].start_phases_size(), 0);
  for (uint32_t rank : {0, 1}) From(rank, Ready());
  const auto ranks = protocol_->Ranks(now_);
  ASSERT_EQ(ranks[1].start_phases_size(), 1);
  EXPECT_EQ(ranks[1].start_phases(0).name(), "weights");
  EXPECT_EQ(ranks[1].start_phases(0).duration().seconds(), 2);
  EXPECT_EQ(ranks[1].start_phases(0).duration().nanos(), 500'000'000);
}

}  // namespace
}  // namespace lockstep::server
