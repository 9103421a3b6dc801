#include "server/worker_pool/worker_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "absl/time/clock.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(30);

std::unique_ptr<WorkerProcess> SpawnShell(const std::string& script) {
  WorkerCommand command;
  command.binary = "/bin/sh";
  command.arguments = {"-c", script};
  auto process = WorkerProcess::Spawn(command);
  EXPECT_TRUE(process.ok()) << process.status();
  return process.ok() ? *std::move(process) : nullptr;
}

std::string WaitForEnd(WorkerProcess& process) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!process.Reap().has_value() && absl::Now() < deadline)
    absl::SleepFor(absl::Milliseconds(1));
  return process.Reap().value_or("still runs");
}

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  pollfd output = {fd, POLLIN, 0};
  while (poll(&output, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) == 1) {
    const ssize_t size = read(fd, buffer, sizeof(buffer));
    if (size <= 0) break;
    text.append(buffer, static_cast<size_t>(size));
  }
  return text;
}

TEST(WorkerProcess, SaysHowItEnded) {
  const auto process = SpawnShell("exit 7");
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(WaitForEnd(*process), "exited with status 7");
  const auto killed = SpawnShell("kill -9 $$");
  ASSERT_NE(killed, nullptr);
  EXPECT_THAT(WaitForEnd(*killed), HasSubstr("was killed by signal 9 (Killed)"));
}

TEST(WorkerProcess, SignalsToTheWholeServiceWaitUntilItLooksAtThem) {
  const auto process = SpawnShell("kill -TERM $$; kill -INT $$; echo it goes on");
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(ReadAll(process->output_fd()), "it goes on\n");
  EXPECT_EQ(WaitForEnd(*process), "exited with status 0");
}

TEST(WorkerProcess, AnEndOfWhichTheKernelTellsNobodyIsSeen) {
  const auto before = signal(SIGCHLD, SIG_IGN);
  const auto process = SpawnShell("exit 7");
  ASSERT_NE(process, nullptr);
  EXPECT_EQ(WaitForEnd(*process), "ended, and somebody else was told how");
  EXPECT_LT(process->exit_fd(), 0);
  signal(SIGCHLD, before);
}

}  // namespace
}  // namespace lockstep::server
