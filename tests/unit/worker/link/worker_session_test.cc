#include "worker/link/worker_session.h"

#include <gmock/gmock.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/fake_step_executor.h"

namespace lockstep::worker {
namespace {

using lockstep::testing::FakeExecutorOptions;
using lockstep::testing::FakeStepExecutor;
using lockstep::testing::Fault;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
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

// A device that computes beside the host: steps are done when the test says so.
class StepsAheadExecutor final : public StepExecutor {
 public:
  absl::StatusOr<LoadedInfo> Load(const WorkerConfig&, int, int, LoadProgressCallback) override {
    return LoadedInfo();
  }
  absl::Status Start(uint64_t, const std::string&) override { return absl::OkStatus(); }
  int max_steps_under_way() const override { return 2; }
  bool NeedsFinishedSteps(const StepPlan& plan) const override { return plan.scheduled.size() > 0; }
  absl::Status Begin(const StepPlan& plan) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    begun_.push_back(plan.step);
    under_way_.push_back(plan.step);
    changed_.notify_all();
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Finish() override {
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t step = under_way_.front();
    under_way_.pop_front();
    changed_.wait(lock, [&] { return num_done_ >= step || is_aborted_; });
    if (is_aborted_) return absl::CancelledError("");
    if (step == failing_step_) return absl::InternalError("the device failed");
    StepResult result;
    result.step = step;
    return result;
  }
  void OnStepDone(std::function<void()> callback) override { callback_ = std::move(callback); }
  void AddMasks(TokenMasks) override {}
  void Abort() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_aborted_ = true;
    changed_.notify_all();
  }

  // The next step is done.
  void StepIsDone() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++num_done_;
      changed_.notify_all();
    }
    callback_();
  }
  void FailAt(uint64_t step) { failing_step_ = step; }
  // The steps that have been begun, as soon as they are `num`.
  std::vector<uint64_t> AwaitBegun(size_t num) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return begun_.size() >= num; });
    return begun_;
  }

 private:
  std::function<void()> callback_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<uint64_t> begun_;
  std::deque<uint64_t> under_way_;
  uint64_t num_done_ = 0;
  std::atomic<uint64_t> failing_step_ = 0;
  bool is_aborted_ = false;
};

class WorkerSessionTest : public ::testing::Test {
 protected:
  void Begin(Fault fault = Fault::kNone) {
    FakeExecutorOptions fake;
    fake.fault = fault;
    Begin(std::make_unique<FakeStepExecutor>(fake));
  }
  void Begin(std::unique_ptr<StepExecutor> executor) {
    options_.world_size = 1;
    options_.pool_token = "secret";
    executor_ = std::move(executor);
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
  // 0 threads leave the number to the worker.
  void Configure(uint32_t num_threads = 2) {
    v1::FrontendMessage message;
    message.mutable_configure()->set_num_threads(num_threads);
    link_.Send(message);
  }
  // What the worker says of its device once it has loaded.
  std::string LoadedDevice() {
    v1::WorkerMessage message = link_.Next();
    while (message.has_hello() || message.has_load_progress()) message = link_.Next();
    return message.loaded().device_description();
  }
  void StartSteps(const std::string& communicator_handle) {
    v1::FrontendMessage message;
    message.mutable_start()->set_num_kv_blocks(10);
    message.mutable_start()->set_communicator_handle(communicator_handle);
    link_.Send(message);
  }
  void Step(uint64_t step, bool needs_finished_steps = false) {
    v1::FrontendMessage message;
    message.mutable_step_plan()->set_step(step);
    if (needs_finished_steps) message.mutable_step_plan()->add_scheduled();
    link_.Send(message);
  }
  // A session over a device that computes beside the host; the hello has been read.
  StepsAheadExecutor& BeginAhead() {
    auto executor = std::make_unique<StepsAheadExecutor>();
    StepsAheadExecutor& ahead = *executor;
    Begin(std::move(executor));
    link_.Next();
    return ahead;
  }

  WorkerOptions options_;
  FakeLink link_;
  std::unique_ptr<StepExecutor> executor_;
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

TEST_F(WorkerSessionTest, TakesAThreadForEachProcessorThatItMayRunOn) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  Begin();
  sched_setaffinity(0, sizeof(before), &before);
  Configure(0);
  EXPECT_THAT(LoadedDevice(), HasSubstr(", 1 threads"));
}

TEST_F(WorkerSessionTest, SeesTheOthersGpusWhereTheFrontendHasStartedIt) {
  options_.death_fd = 3;
  Begin();
  Configure();
  EXPECT_THAT(LoadedDevice(), HasSubstr("sees the others' GPUs"));
}

TEST_F(WorkerSessionTest, IsNotTakenToSeeTheOthersGpusWhereAPlatformHasStartedIt) {
  Begin();
  Configure();
  EXPECT_THAT(LoadedDevice(), Not(HasSubstr("sees the others' GPUs")));
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

TEST_F(WorkerSessionTest, TheClientsAddressIsSaidToBeTheWrongOne) {
  ::testing::internal::CaptureStderr();
  Begin();
  link_.Next();
  link_.End(absl::UnimplementedError(""));
  EXPECT_EQ(Join(), ExitCode::kNotAttached);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("is not its address for workers: give --frontend that of lockstep-server's "
                        "--worker-listen"));
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

TEST_F(WorkerSessionTest, TheNextStepIsBegunWhileTheOneBeforeItRuns) {
  StepsAheadExecutor& executor = BeginAhead();
  for (uint64_t step : {1, 2, 3}) Step(step);
  EXPECT_THAT(executor.AwaitBegun(2), ElementsAre(1, 2)) << "more than two would be under way";
  executor.StepIsDone();
  EXPECT_EQ(link_.Next().step_result().step(), 1);
  EXPECT_THAT(executor.AwaitBegun(3), ElementsAre(1, 2, 3));
  executor.StepIsDone();
  executor.StepIsDone();
  EXPECT_EQ(link_.Next().step_result().step(), 2);
  EXPECT_EQ(link_.Next().step_result().step(), 3);
}

TEST_F(WorkerSessionTest, AStepThatIsDoneIsAnsweredThoughNoOtherFollows) {
  StepsAheadExecutor& executor = BeginAhead();
  for (uint64_t step : {1, 2, 3}) {
    Step(step);
    executor.AwaitBegun(step);
    executor.StepIsDone();
    EXPECT_EQ(link_.Next().step_result().step(), step);
  }
}

TEST_F(WorkerSessionTest, AStepThatNeedsFinishedStepsIsBegunAfterThem) {
  StepsAheadExecutor& executor = BeginAhead();
  Step(1);
  executor.AwaitBegun(1);
  Step(2, /*needs_finished_steps=*/true);
  executor.StepIsDone();
  EXPECT_EQ(link_.Next().step_result().step(), 1);
  EXPECT_THAT(executor.AwaitBegun(2), ElementsAre(1, 2));
  executor.StepIsDone();
  EXPECT_EQ(link_.Next().step_result().step(), 2);
}

TEST_F(WorkerSessionTest, AStepThatFailsWhileAnotherIsUnderWayIsReported) {
  StepsAheadExecutor& executor = BeginAhead();
  executor.FailAt(1);
  for (uint64_t step : {1, 2}) Step(step);
  executor.AwaitBegun(2);
  executor.StepIsDone();
  EXPECT_EQ(link_.Next().failure().message(), "the device failed");
  EXPECT_EQ(Join(), ExitCode::kFailed);
}

TEST_F(WorkerSessionTest, ABrokenLinkEndsStepsThatAreUnderWay) {
  StepsAheadExecutor& executor = BeginAhead();
  for (uint64_t step : {1, 2}) Step(step);
  executor.AwaitBegun(2);
  link_.End(absl::UnavailableError("connection reset"));
  EXPECT_EQ(Join(), ExitCode::kFrontendGone);
}

}  // namespace
}  // namespace lockstep::worker
