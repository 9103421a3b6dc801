// The pool with worker processes that have no model: what they do right, and every way to go wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/worker_pool/grpc_worker_pool.h"
#include "server/worker_pool/worker_process.h"
#include "tests/integration/fake_pool.h"
#include "tests/testing/fake_step_executor.h"

namespace lockstep::server {
namespace {

using lockstep::testing::FakeStepExecutor;
using lockstep::testing::Fault;
using ::testing::HasSubstr;

TEST(WorkerPoolTest, RanksStartAndAnswerStepsThatWereSentAhead) {
  for (uint32_t world_size : {1, 2, 4}) {
    Recorder recorder;
    GrpcWorkerPool pool(FakePool(world_size));
    ASSERT_TRUE(pool.Start(recorder).ok());
    EXPECT_EQ(recorder.WaitUntilReady(), 100 - (world_size - 1));  // the minimum over ranks
    for (uint64_t step = 1; step <= 50; ++step) pool.Submit(Plan(step, 5));
    const auto results = recorder.WaitForResults(50);
    ASSERT_EQ(results.size(), 50);
    std::vector<uint32_t> tokens = {0, 1, 2, 3, 4};
    for (const auto& result : results) {
      ASSERT_EQ(result.fields.sampled_size(), 1);
      EXPECT_EQ(result.fields.sampled(0).token_id(), FakeStepExecutor::NextToken(tokens, 64));
      tokens.push_back(result.fields.sampled(0).token_id());
    }
    const auto ranks = pool.Ranks();
    ASSERT_EQ(ranks.size(), world_size);
    EXPECT_EQ(ranks.back().last_step(), 50);
    EXPECT_EQ(ranks.back().bytes_loaded(), 2);
    EXPECT_EQ(pool.State(), v1::POOL_STATE_READY);
    const auto pids = Pids(pool);
    pool.Shutdown(kShutdownPatience);
    for (pid_t pid : pids) EXPECT_TRUE(IsGone(pid));
    EXPECT_FALSE(recorder.has_failed());
  }
}

// Those of whoever started the frontend, itself a rank of something else perhaps.
TEST(WorkerPoolTest, TheRanksVariablesOfTheFrontendAreNotTheWorkers) {
  constexpr const char* kVariables[] = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
  for (const char* value : {"64", "abc"}) {
    for (const char* name : kVariables) setenv(name, value, 1);
    Recorder recorder;
    GrpcWorkerPool pool(FakePool(2));
    ASSERT_TRUE(pool.Start(recorder).ok());
    EXPECT_GT(recorder.WaitUntilReady(), 0) << value;
    for (const v1::RankInfo& rank : pool.Ranks()) {
      EXPECT_THAT(rank.device(), HasSubstr(absl::StrCat("local rank ", rank.rank(), " of 2")));
    }
    pool.Shutdown(kShutdownPatience);
  }
  for (const char* name : kVariables) unsetenv(name);
}

struct FaultCase {
  Fault fault;
  const char* text;  // of the failure; both ranks have this, rank 1 being the faulty one
  absl::Duration step_timeout = kDistantTimeout;
};

// For gtest's messages.
void PrintTo(const FaultCase& fault, std::ostream* out) { *out << fault.text; }

class StartFaultTest : public ::testing::TestWithParam<FaultCase> {};

TEST_P(StartFaultTest, FailsThePoolAndNamesTheRank) {
  Recorder recorder;
  GrpcWorkerPool pool(FakePool(2, GetParam().fault, 1));
  ASSERT_TRUE(pool.Start(recorder).ok());
  EXPECT_THAT(recorder.WaitForFailure(), AllOf(HasSubstr("rank 1 "), HasSubstr(GetParam().text)));
  EXPECT_EQ(pool.State(), v1::POOL_STATE_FAILED);
}

INSTANTIATE_TEST_SUITE_P(WorkerPool, StartFaultTest,
                         ::testing::Values(FaultCase{Fault::kFailLoad,
                                                     "model.safetensors ends early"},
                                           FaultCase{Fault::kCrashInLoad, "killed by signal 6"},
                                           FaultCase{Fault::kFailStart, "self-test gave NaN"}));

class StepFaultTest : public ::testing::TestWithParam<FaultCase> {};

TEST_P(StepFaultTest, FailsThePoolAtThatStepAndLeavesNoProcess) {
  Recorder recorder;
  PoolOptions options = FakePool(2, GetParam().fault, 1, 3);
  options.step_timeout = GetParam().step_timeout;
  GrpcWorkerPool pool(options);
  ASSERT_TRUE(pool.Start(recorder).ok());
  ASSERT_NE(recorder.WaitUntilReady(), 0);
  const auto pids = Pids(pool);
  for (uint64_t step = 1; step <= 5; ++step) pool.Submit(Plan(step, 4));
  EXPECT_THAT(recorder.WaitForFailure(), AllOf(HasSubstr("rank 1"), HasSubstr(GetParam().text)));
  pool.Shutdown(kShutdownPatience);
  for (pid_t pid : pids) EXPECT_TRUE(IsGone(pid));
}

INSTANTIATE_TEST_SUITE_P(
    WorkerPool, StepFaultTest,
    ::testing::Values(FaultCase{Fault::kCrashAtStep, "killed by signal 6"},
                      FaultCase{Fault::kHangAtStep,
                                "did not answer step 3 within --step-timeout of 4s", kShortTimeout},
                      FaultCase{Fault::kHangHardAtStep, "did not answer step 3", kShortTimeout},
                      FaultCase{Fault::kFailAtStep, "a kernel failed"},
                      FaultCase{Fault::kThrowAtStep, "an exception from a tensor"},
                      FaultCase{Fault::kWrongHashAtStep, "disagree about the state after step 3"},
                      FaultCase{Fault::kLeaveAtStep, "another rank left"}));

TEST(WorkerPoolTest, AWorkerThatABusErrorEndedNamesTheLikelyFile) {
  WorkerCommand command;
  command.binary = "/bin/sh";
  command.arguments = {"-c", "kill -BUS $$"};
  const auto process = WorkerProcess::Spawn(command);
  ASSERT_TRUE(process.ok()) << process.status();
  pollfd ended = {(*process)->exit_fd(), POLLIN, 0};
  poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count()));
  EXPECT_THAT((*process)->Reap().value_or("still running"),
              AllOf(HasSubstr("killed by signal 7"), HasSubstr("checkpoint, was cut short")));
}

TEST(WorkerPoolTest, AKilledWorkerFailsThePoolAtOnceAndTakesTheOthersAlong) {
  Recorder recorder;
  GrpcWorkerPool pool(FakePool(3));
  ASSERT_TRUE(pool.Start(recorder).ok());
  ASSERT_NE(recorder.WaitUntilReady(), 0);
  const auto pids = Pids(pool);
  kill(pids[2], SIGKILL);
  EXPECT_THAT(recorder.WaitForFailure(),
              AllOf(HasSubstr(absl::StrCat("rank 2 (pid ", pids[2], ")")), HasSubstr("signal 9")));
  pool.Shutdown(kShutdownPatience);
  for (pid_t pid : pids) EXPECT_TRUE(IsGone(pid));
}

TEST(WorkerPoolTest, AStoppedWorkerIsKilledAfterTheStepDeadline) {
  Recorder recorder;
  PoolOptions options = FakePool(2);
  options.step_timeout = kShortTimeout;
  GrpcWorkerPool pool(options);
  ASSERT_TRUE(pool.Start(recorder).ok());
  ASSERT_NE(recorder.WaitUntilReady(), 0);
  const auto pids = Pids(pool);
  kill(pids[0], SIGSTOP);
  pool.Submit(Plan(1, 3));
  EXPECT_THAT(recorder.WaitForFailure(), HasSubstr("rank 0 did not answer step 1"));
  pool.Shutdown(kShutdownPatience);
  for (pid_t pid : pids) EXPECT_TRUE(IsGone(pid));
}

TEST(WorkerPoolTest, TheStartDeadlineEndsAHangingLoad) {
  Recorder recorder;
  PoolOptions options = FakePool(2, Fault::kHangInLoad, 1);
  options.start_timeout = kShortTimeout;
  GrpcWorkerPool pool(options);
  ASSERT_TRUE(pool.Start(recorder).ok());
  EXPECT_THAT(recorder.WaitForFailure(), HasSubstr("rank 1 did not finish loading"));
}

TEST(WorkerPoolTest, AMissingWorkerProgramIsAnErrorAtOnce) {
  Recorder recorder;
  PoolOptions options = FakePool(1);
  options.worker_binary = "/no/such/lockstep-worker";
  GrpcWorkerPool pool(options);
  EXPECT_THAT(pool.Start(recorder).message(), HasSubstr("/no/such/lockstep-worker"));
}

TEST(WorkerPoolTest, AWorkerThatExitsAtOnceIsQuoted) {
  Recorder recorder;
  PoolOptions options = FakePool(1);
  options.worker_arguments = {"nonsense"};
  GrpcWorkerPool pool(options);
  ASSERT_TRUE(pool.Start(recorder).ok());
  EXPECT_THAT(recorder.WaitForFailure(),
              AllOf(HasSubstr("exited with status 2"), HasSubstr("usage: fake-worker")));
}

TEST(WorkerPoolTest, AnAddressInUseIsAnErrorAtOnce) {
  Recorder recorder;
  PoolOptions options = FakePool(1);
  options.external_workers = true;
  options.listen_address = "127.0.0.1:0";
  GrpcWorkerPool first(options);
  ASSERT_TRUE(first.Start(recorder).ok());
  options.listen_address = first.address();
  GrpcWorkerPool second(options);
  const absl::Status status = second.Start(recorder);
  EXPECT_THAT(status.message(), AllOf(HasSubstr(first.address()), HasSubstr("in use")));
}

TEST(WorkerPoolTest, ManyLogitsComeThroughInTheShardsOfBothRanks) {
  Recorder recorder;
  GrpcWorkerPool pool(FakePool(2));
  ASSERT_TRUE(pool.Start(recorder).ok());
  ASSERT_NE(recorder.WaitUntilReady(), 0);
  pool.Submit(PlanWithManyLogits());
  const auto results = recorder.WaitForResults(1);
  ASSERT_EQ(results.size(), 1);
  ExpectManyLogits(results[0]);
  // The pool's own workers leave them in memory that is not the frontend's: pages of a file.
  std::ifstream maps("/proc/self/maps");
  const std::string text((std::istreambuf_iterator<char>(maps)), std::istreambuf_iterator<char>());
  EXPECT_THAT(text, HasSubstr("memfd:lockstep-results"));
}

// A frontend that dies without a word: a child process with a pool of its own, killed.
TEST(WorkerPoolTest, NoWorkerOutlivesAKilledFrontend) {
  for (const Fault fault : {Fault::kNone, Fault::kHangInLoad}) {
    int report[2];
    ASSERT_EQ(pipe(report), 0);
    const pid_t frontend = fork();
    if (frontend == 0) {
      // Only the child's own threads from here on: the parent has started none that matter.
      execl("/proc/self/exe", "worker_pool_test", "--frontend-of",
            absl::StrCat(static_cast<int>(fault)).c_str(), absl::StrCat(report[1]).c_str(),
            nullptr);
      _exit(1);
    }
    close(report[1]);
    pid_t pids[2] = {0, 0};
    pollfd ready = {report[0], POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, static_cast<int>(std::chrono::milliseconds(kPatience).count())), 1);
    ASSERT_EQ(read(report[0], pids, sizeof(pids)), static_cast<ssize_t>(sizeof(pids)));
    close(report[0]);
    kill(frontend, SIGKILL);
    waitpid(frontend, nullptr, 0);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (pid_t pid : pids) {
      const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
      if (fd < 0) continue;  // gone already
      pollfd gone = {fd, POLLIN, 0};
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      EXPECT_EQ(poll(&gone, 1, std::max(0, static_cast<int>(left.count()))), 1) << "pid " << pid;
      close(fd);
    }
  }
}

// The child of the test above: reports its workers' pids once they are attached and waits for its
// end.
int RunFrontend(const char* fault, const char* report_fd) {
  Recorder recorder;
  GrpcWorkerPool pool(FakePool(2, static_cast<Fault>(std::stoi(fault)), 1));
  if (!pool.Start(recorder).ok()) return 1;
  if (std::string(fault) == "0") recorder.WaitUntilReady();
  pid_t pids[2];
  for (int rank : {0, 1}) pids[rank] = Pids(pool)[rank];
  if (write(std::stoi(report_fd), pids, sizeof(pids)) < 0) return 1;
  while (true) pause();
}

}  // namespace

int FrontendMain(int argc, char** argv) {
  return argc == 4 && std::string(argv[1]) == "--frontend-of" ? RunFrontend(argv[2], argv[3]) : -1;
}

}  // namespace lockstep::server

int main(int argc, char** argv) {
  const int frontend = lockstep::server::FrontendMain(argc, argv);
  if (frontend >= 0) return frontend;
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
