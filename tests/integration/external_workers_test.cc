// The pool with workers that others start.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/worker_pool/grpc_worker_pool.h"
#include "server/worker_pool/worker_process.h"
#include "tests/integration/fake_pool.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Workers started by the test, as an operator would.
class ExternalWorkersTest : public ::testing::Test {
 protected:
  ExternalWorkersTest() {
    options_ = FakePool(2);
    options_.external_workers = true;
    options_.listen_address = "127.0.0.1:0";
    options_.token = "secret";
  }

  void StartWorker(const std::string& address, uint32_t rank, uint32_t world_size,
                   const std::string& token) {
    WorkerCommand command;
    command.binary = options_.worker_binary;
    command.arguments = {"0,0,0", "--frontend", address, "--world-size", absl::StrCat(world_size)};
    command.variables = {{"LOCKSTEP_POOL_TOKEN", token}, {"RANK", absl::StrCat(rank)}};
    auto process = WorkerProcess::Spawn(command);
    ASSERT_TRUE(process.ok()) << process.status();
    workers_.push_back(*std::move(process));
  }
  // How a worker that was started ended, and what it said.
  std::string WaitForEnd(size_t index) {
    WorkerProcess& process = *workers_[index];
    pollfd ended = {process.exit_fd(), POLLIN, 0};
    poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count()));
    std::string text(4096, '\0');
    const ssize_t size = read(process.output_fd(), text.data(), text.size());
    text.resize(size > 0 ? static_cast<size_t>(size) : 0);
    return absl::StrCat(process.Reap().value_or("still running"), ": ", text);
  }

  const lockstep::testing::TemporaryDirectory directory_{
      lockstep::testing::TemporaryDirectory::For::kSockets};
  // Where nobody listens until the test does.
  const std::string socket_ = absl::StrCat("unix:", directory_.path().string(), "/link.sock");
  PoolOptions options_;
  Recorder recorder_;
  std::vector<std::unique_ptr<WorkerProcess>> workers_;
};

TEST_F(ExternalWorkersTest, SendManyLogitsOverTheLink) {
  GrpcWorkerPool pool(options_);
  ASSERT_TRUE(pool.Start(recorder_).ok());
  for (uint32_t rank : {0, 1}) StartWorker(pool.address(), rank, 2, "secret");
  ASSERT_NE(recorder_.WaitUntilReady(), 0);
  pool.Submit(PlanWithManyLogits());
  const auto results = recorder_.WaitForResults(1);
  ASSERT_EQ(results.size(), 1);
  ExpectManyLogits(results[0]);
}

TEST_F(ExternalWorkersTest, DialOverTcpOrAUnixSocketAndServe) {
  for (const std::string& address : {std::string("127.0.0.1:0"), socket_}) {
    options_.listen_address = address;
    Recorder recorder;
    GrpcWorkerPool pool(options_);
    ASSERT_TRUE(pool.Start(recorder).ok());
    workers_.clear();
    StartWorker(pool.address(), 1, 2, "secret");
    StartWorker(pool.address(), 0, 2, "secret");
    ASSERT_EQ(recorder.WaitUntilReady(), 99);
    pool.Submit(Plan(1, 4));
    EXPECT_EQ(recorder.WaitForResults(1).size(), 1);
    pool.Shutdown(kShutdownPatience);
    EXPECT_THAT(WaitForEnd(0), HasSubstr("exited with status 0"));
    EXPECT_THAT(WaitForEnd(1), HasSubstr("exited with status 0"));
  }
}

TEST_F(ExternalWorkersTest, ASocketThatAFrontendListensOnIsNotTakenFromIt) {
  options_.listen_address = socket_;
  GrpcWorkerPool pool(options_);
  ASSERT_TRUE(pool.Start(recorder_).ok());
  Recorder other;
  const absl::Status status = GrpcWorkerPool(options_).Start(other);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(socket_ + ": another process does"));
  for (uint32_t rank : {0, 1}) StartWorker(pool.address(), rank, 2, "secret");
  EXPECT_EQ(recorder_.WaitUntilReady(), 99);
}

TEST_F(ExternalWorkersTest, StrangersAreToldWhyAndDoNoHarm) {
  GrpcWorkerPool pool(options_);
  ASSERT_TRUE(pool.Start(recorder_).ok());
  StartWorker(pool.address(), 0, 2, "guess");
  StartWorker(pool.address(), 0, 3, "secret");
  EXPECT_THAT(WaitForEnd(0), AllOf(HasSubstr("status 4"), HasSubstr("wrong pool token")));
  EXPECT_THAT(WaitForEnd(1), AllOf(HasSubstr("status 4"), HasSubstr("world size is 3")));
  StartWorker(pool.address(), 0, 2, "secret");
  StartWorker(pool.address(), 1, 2, "secret");
  EXPECT_NE(recorder_.WaitUntilReady(), 0);
  StartWorker(pool.address(), 1, 2, "secret");
  EXPECT_THAT(WaitForEnd(4), AllOf(HasSubstr("status 4"), HasSubstr("rank 1 is taken")));
  EXPECT_FALSE(recorder_.has_failed());
}

TEST_F(ExternalWorkersTest, OneThatIsKilledFailsThePoolAndEndsTheOthers) {
  GrpcWorkerPool pool(options_);
  ASSERT_TRUE(pool.Start(recorder_).ok());
  StartWorker(pool.address(), 0, 2, "secret");
  StartWorker(pool.address(), 1, 2, "secret");
  ASSERT_NE(recorder_.WaitUntilReady(), 0);
  workers_[0]->Signal(SIGKILL);
  EXPECT_THAT(recorder_.WaitForFailure(), AllOf(HasSubstr("rank 0"), HasSubstr("its link broke")));
  EXPECT_THAT(WaitForEnd(1), HasSubstr("exited with status 3"));
}

TEST_F(ExternalWorkersTest, WaitForAFrontendThatComesLater) {
  StartWorker(socket_, 0, 2, "secret");
  StartWorker(socket_, 1, 2, "secret");
  options_.listen_address = socket_;
  GrpcWorkerPool pool(options_);
  ASSERT_TRUE(pool.Start(recorder_).ok());
  EXPECT_NE(recorder_.WaitUntilReady(), 0);
}

TEST_F(ExternalWorkersTest, SigtermEndsAWorkerThatDials) {
  StartWorker(socket_, 0, 1, "");
  // The signal is for a process that runs: before it blocks signals it would simply die of it.
  workers_[0]->Signal(SIGTERM);
  EXPECT_THAT(WaitForEnd(0), Not(HasSubstr("still running")));
}

}  // namespace
}  // namespace lockstep::server
