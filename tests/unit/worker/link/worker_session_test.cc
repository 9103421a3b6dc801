#include "worker/link/worker_session.h"

#include <gmock/gmock.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "tests/testing/fake_step_executor.h"

namespace lockstep::worker {
namespace {

using lockstep::testing::FakeExecutorOptions;
using lockstep::testing::FakeStepExecutor;
using lockstep::testing::Fault;
using ::testing::HasSubstr;
using Kind = v1::WorkerMessage::MessageCase;

constexpr std::chrono::seconds kPatience(20);

// A frontend in the same process.
class FakeLink final : public ControlLink {
 public:
  bool Read(v1::FrontendMessage& message) override {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return is_ended_ || !incoming_.empty(); });
    if (incoming_.empty()) return false;
    message = std::move(incoming_.front());
    incoming_.pop_front();
    return true;
  }
  bool Write(const grpc::ByteBuffer& bytes) override {
    grpc::ByteBuffer copy = bytes;
    grpc::ProtoBufferReader reader(&copy);
    v1::WorkerMessage message;
    EXPECT_TRUE(message.ParseFromZeroCopyStream(&reader));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_ended_) return false;
    outgoing_.push_back(std::move(message));
    changed_.notify_all();
    return true;
  }
  void WritesDone() override { End(absl::OkStatus()); }
  void Cancel() override { End(absl::CancelledError("")); }
  absl::Status Finish() override { return status_; }

  void Send(const v1::FrontendMessage& message) {
    const std::lock_guard<std::mutex> lock(mutex_);
    incoming_.push_back(message);
    changed_.notify_all();
  }
  void End(const absl::Status& status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_ended_) return;
    is_ended_ = true;
    status_ = status;
    changed_.notify_all();
  }
  // The next message from the worker; empty after the deadline.
  v1::WorkerMessage Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    v1::WorkerMessage message;
    if (changed_.wait_for(lock, kPatience, [this] { return !outgoing_.empty(); })) {
      message = std::move(outgoing_.front());
      outgoing_.pop_front();
    }
    return message;
  }
  v1::WorkerMessage NextBut(Kind passed_over) {
    v1::WorkerMessage message = Next();
    while (message.message_case() == passed_over) message = Next();
    return message;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::FrontendMessage> incoming_;
  std::deque<v1::WorkerMessage> outgoing_;
  bool is_ended_ = false;
  absl::Status status_;
};

class WorkerSessionTest : public ::testing::Test {
 protected:
  void Begin(Fault fault = Fault::kNone) {
    options_.world_size = 1;
    options_.pool_token = "secret";
    FakeExecutorOptions fake;
    fake.fault = fault;
    executor_ = std::make_unique<FakeStepExecutor>(fake);
    session_ = std::make_unique<WorkerSession>(options_, link_, *executor_,
                                               [this](ExitCode) { ++num_endings_; });
    thread_ = std::thread([this] { code_ = session_->Run(); });
  }
  ~WorkerSessionTest() override {
    link_.End(absl::CancelledError(""));
    if (thread_.joinable()) thread_.join();
  }
  ExitCode Join() {
    thread_.join();
    EXPECT_EQ(num_endings_, 1);
    return code_;
  }
  void Configure() {
    v1::FrontendMessage message;
    message.mutable_configure()->set_num_threads(2);
    link_.Send(message);
  }
  void StartSteps(const std::string& communicator_handle) {
    v1::FrontendMessage message;
    message.mutable_start()->set_num_kv_blocks(10);
    message.mutable_start()->set_communicator_handle(communicator_handle);
    link_.Send(message);
  }
  void Step(uint64_t step) {
    v1::FrontendMessage message;
    message.mutable_step_plan()->set_step(step);
    link_.Send(message);
  }

  WorkerOptions options_;
  FakeLink link_;
  std::unique_ptr<FakeStepExecutor> executor_;
  std::unique_ptr<WorkerSession> session_;
  std::thread thread_;
  ExitCode code_ = ExitCode::kBadUsage;
  int num_endings_ = 0;
};

TEST_F(WorkerSessionTest, GoesThroughTheHandshakeAndAnswersStepsInOrder) {
  Begin();
  const v1::WorkerMessage hello = link_.Next();
  EXPECT_EQ(hello.hello().pool_token(), "secret");
  EXPECT_EQ(hello.hello().pid(), getpid());
  Configure();
  const v1::WorkerMessage loaded = link_.NextBut(Kind::kLoadProgress);
  EXPECT_EQ(loaded.loaded().num_kv_blocks(), 100);
  StartSteps(loaded.loaded().communicator_handle());
  EXPECT_TRUE(link_.Next().has_ready());
  for (uint64_t step : {1, 2, 3}) Step(step);
  for (uint64_t step : {1, 2, 3}) EXPECT_EQ(link_.Next().step_result().step(), step);
  v1::FrontendMessage goodbye;
  goodbye.mutable_shutdown();
  link_.Send(goodbye);
  EXPECT_EQ(Join(), ExitCode::kGoodbye);
}

TEST_F(WorkerSessionTest, AStartWithoutTheHandleOfRankZeroFails) {
  Begin();
  Configure();
  StartSteps("");
  v1::WorkerMessage message = link_.Next();
  while (message.has_hello() || message.has_load_progress() || message.has_loaded()) {
    message = link_.Next();
  }
  EXPECT_THAT(message.failure().message(), HasSubstr("handle"));
  EXPECT_EQ(Join(), ExitCode::kFailed);
}

TEST_F(WorkerSessionTest, AFailureIsReportedBeforeTheEnd) {
  Begin(Fault::kFailAtStep);
  link_.Next();
  Step(1);
  const v1::WorkerMessage message = link_.Next();
  EXPECT_EQ(message.failure().message(), "a kernel failed");
  EXPECT_EQ(message.failure().code(), static_cast<int>(absl::StatusCode::kInternal));
  EXPECT_EQ(Join(), ExitCode::kFailed);
}

TEST_F(WorkerSessionTest, AnExceptionIsReportedAsAFailure) {
  Begin(Fault::kThrowAtStep);
  link_.Next();
  Step(1);
  EXPECT_THAT(link_.Next().failure().message(), HasSubstr("an exception from a tensor"));
  EXPECT_EQ(Join(), ExitCode::kFailed);
}

TEST_F(WorkerSessionTest, ABrokenLinkAbortsAStepThatHangs) {
  Begin(Fault::kHangAtStep);
  link_.Next();
  Step(1);
  link_.End(absl::UnavailableError("connection reset"));
  EXPECT_EQ(Join(), ExitCode::kFrontendGone);
}

TEST_F(WorkerSessionTest, ARefusalHasAnExitCodeOfItsOwn) {
  Begin();
  link_.Next();
  link_.End(absl::AlreadyExistsError("rank 0 is taken"));
  EXPECT_EQ(Join(), ExitCode::kNotAttached);
}

TEST_F(WorkerSessionTest, EndsFromOutsideWhileALoadHangs) {
  Begin(Fault::kHangInLoad);
  link_.Next();
  Configure();
  EXPECT_TRUE(link_.Next().has_load_progress());
  EXPECT_TRUE(session_->End(ExitCode::kGoodbye));
  EXPECT_FALSE(session_->End(ExitCode::kFrontendGone));
  EXPECT_EQ(Join(), ExitCode::kGoodbye);
}

}  // namespace
}  // namespace lockstep::worker
