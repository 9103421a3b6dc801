// What goes wrong between processes: ranks that die, hang, never come or do not fit.

#include <ATen/ops/full.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/testing/wall_clock.h"
#include "tests/unit/worker/comm/rank_group.h"
#include "worker/comm/communicator.h"

namespace lockstep::worker {
namespace {

using ::testing::HasSubstr;

bool HasSegment(const std::string& id) {
  return std::filesystem::exists("/dev/shm/lockstep-" + id);
}

// A rank in a process of its own: attaches, passes one barrier, then does `body` and exits.
pid_t ForkRank(const std::string& id, int rank, int world_size,
               const std::function<void(Communicator&)>& body) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  auto communicator = CreateCommunicator(RankOptions(id, rank, world_size));
  if (!communicator.ok() || !(*communicator)->Barrier().ok()) _exit(1);
  body(**communicator);
  _exit(0);
}

void WaitForExit(pid_t pid) { ASSERT_EQ(waitpid(pid, nullptr, 0), pid); }

TEST(ShmFailureTest, ProcessesReduceAndLeaveNothingBehind) {
  const std::string id = UniqueId();
  std::vector<pid_t> children;
  const auto reduce = [](Communicator& communicator) {
    at::Tensor data = at::full({100'000}, communicator.rank() + 1.0);
    const bool is_right =
        communicator.AllReduceSum(data).ok() && data.const_data_ptr<float>()[99'999] == 10.0F;
    if (!is_right) _exit(1);
  };
  for (int rank = 1; rank < 4; ++rank) children.push_back(ForkRank(id, rank, 4, reduce));
  auto communicator = CreateCommunicator(RankOptions(id, 0, 4));
  ASSERT_TRUE(communicator.ok()) << communicator.status();
  EXPECT_FALSE(HasSegment(id)) << "the name goes as soon as all have attached";
  ASSERT_TRUE((*communicator)->Barrier().ok());
  reduce(**communicator);
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

TEST(ShmFailureTest, TheDeathOfAPeerIsNoticedBeforeTheTimeout) {
  const std::string id = UniqueId();
  const pid_t child = ForkRank(id, 1, 2, [](Communicator&) { raise(SIGKILL); });
  auto communicator = CreateCommunicator(RankOptions(id, 0, 2));
  ASSERT_TRUE(communicator.ok()) << communicator.status();
  ASSERT_TRUE((*communicator)->Barrier().ok());
  at::Tensor data = at::full({10}, 1.0);
  const absl::Status status = (*communicator)->AllReduceSum(data);
  // The timeout's code would be DEADLINE_EXCEEDED.
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1"));
  WaitForExit(child);
}

TEST(ShmFailureTest, APeerThatHangsRunsIntoTheTimeoutAndIsNamed) {
  const std::string id = UniqueId();
  const pid_t child = ForkRank(id, 1, 2, [](Communicator&) { pause(); });
  CommunicatorOptions options = RankOptions(id, 0, 2);
  options.timeout = absl::Seconds(4);  // the child attaches within it
  auto communicator = CreateCommunicator(options);
  ASSERT_TRUE(communicator.ok()) << communicator.status();
  ASSERT_TRUE((*communicator)->Barrier().ok());
  const absl::Status status = (*communicator)->Barrier();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1"));
  kill(child, SIGKILL);
  WaitForExit(child);
}

TEST(ShmFailureTest, AStepOfTheWallClockIsNoTimeout) {
  const std::string id = UniqueId();
  // Attaches and arrives late, after the clock has been set while rank 0 waited.
  std::thread late([&] {
    absl::SleepFor(absl::Milliseconds(50));
    testing::StepWallClock(absl::Hours(1));
    absl::SleepFor(absl::Milliseconds(50));
    auto communicator = CreateCommunicator(RankOptions(id, 1, 2));
    ASSERT_TRUE(communicator.ok()) << communicator.status();
    absl::SleepFor(absl::Milliseconds(50));
    testing::StepWallClock(absl::Hours(1));
    absl::SleepFor(absl::Milliseconds(50));
    EXPECT_EQ((*communicator)->Barrier(), absl::OkStatus());
  });
  auto communicator = CreateCommunicator(RankOptions(id, 0, 2));
  EXPECT_EQ(communicator.status(), absl::OkStatus());
  if (communicator.ok()) {
    EXPECT_EQ((*communicator)->Barrier(), absl::OkStatus());
  }
  late.join();
  testing::StepWallClock(-absl::Hours(2));
}

TEST(ShmFailureTest, RanksThatNeverComeAreNamedAndTheNameIsRemoved) {
  const std::string id = UniqueId();
  CommunicatorOptions options = RankOptions(id, 0, 4);
  options.timeout = absl::Milliseconds(200);
  const auto communicator = CreateCommunicator(options);
  EXPECT_EQ(communicator.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(communicator.status().message()), HasSubstr("1, 2, 3"));
  EXPECT_FALSE(HasSegment(id));
}

TEST(ShmFailureTest, ARankWithoutRankZeroGivesUp) {
  CommunicatorOptions options = RankOptions(UniqueId(), 1, 2);
  options.timeout = absl::Milliseconds(100);
  const auto communicator = CreateCommunicator(options);
  EXPECT_EQ(communicator.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(communicator.status().message()), HasSubstr("rank 0"));
}

TEST(ShmFailureTest, AnIdThatIsInUseIsRefused) {
  const std::string id = UniqueId();
  const std::string name = "/lockstep-" + id;
  const int fd = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  const auto communicator = CreateCommunicator(RankOptions(id, 0, 2));
  EXPECT_EQ(communicator.status().code(), absl::StatusCode::kAlreadyExists);
  shm_unlink(name.c_str());
  close(fd);
}

TEST(ShmFailureTest, WhatACrashedPoolLeftIsRemovedByTheNext) {
  const std::string stale = UniqueId();
  const int fd = shm_open(("/lockstep-" + stale).c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  const timespec long_ago[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
  ASSERT_EQ(futimens(fd, long_ago), 0);
  close(fd);
  CommunicatorOptions options = RankOptions(UniqueId(), 0, 2);
  options.timeout = absl::Milliseconds(10);
  EXPECT_FALSE(CreateCommunicator(options).ok());
  EXPECT_FALSE(HasSegment(stale));
}

// Gives this process a mount namespace of its own: as root, or as root of a user namespace.
bool EnterMountNamespace() {
  if (unshare(CLONE_NEWNS) == 0) return true;
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  // Files cannot be made by a group without a number in here; numbers may be given to one who
  // cannot drop groups.
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
  return geteuid() == 0 && getegid() == 0;
}

// In a child with a /dev/shm of its own, where the system lets a test make one: whether creating a
// communicator fails with this code and a message that has these texts, and leaves nothing.
void ExpectErrorWithShm(unsigned long mount_flags, const char* mount_options, absl::StatusCode code,
                        const std::vector<std::string>& texts) {
  constexpr int kNoNamespace = 77;
  const pid_t child = fork();
  if (child == 0) {
    const bool has_mount =
        EnterMountNamespace() &&
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&  // ours alone
        mount("tmpfs", "/dev/shm", "tmpfs", mount_flags, mount_options) == 0;
    if (!has_mount) _exit(kNoNamespace);
    const auto communicator = CreateCommunicator(RankOptions("small", 0, 2));
    const std::string message(communicator.status().message());
    bool is_clear = communicator.status().code() == code;
    for (const std::string& text : texts) is_clear &= message.find(text) != std::string::npos;
    _exit(is_clear && !HasSegment("small") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == kNoNamespace) GTEST_SKIP() << "may not make a mount namespace";
  EXPECT_EQ(status, 0);
}

TEST(ShmFailureTest, ATooSmallSharedMemoryFileSystemIsSaidAtTheStart) {
  ExpectErrorWithShm(0, "size=256k", absl::StatusCode::kResourceExhausted,
                     {"262144 bytes free", "--shm-size"});
}

TEST(ShmFailureTest, AReadOnlySharedMemoryFileSystemIsSaidToBeMeantForWriting) {
  ExpectErrorWithShm(MS_RDONLY, "size=1m", absl::StatusCode::kUnavailable,
                     {"Read-only file system", "can write to", "--shm-size"});
}

TEST(ShmFailureTest, BadOptionsAreNamed) {
  const auto error = [](CommunicatorOptions options) {
    return std::string(CreateCommunicator(options).status().message());
  };
  EXPECT_THAT(error(RankOptions("id", 0, 9)), HasSubstr("9"));
  EXPECT_THAT(error(RankOptions("id", 2, 2)), HasSubstr("rank is 2"));
  EXPECT_THAT(error(RankOptions("a/b", 0, 2)), HasSubstr("a/b"));
  EXPECT_THAT(error(RankOptions("", 0, 2)), HasSubstr("communicator id"));
  CommunicatorOptions options = RankOptions("id", 0, 2);
  options.timeout = absl::ZeroDuration();
  EXPECT_THAT(error(options), HasSubstr("timeout"));
}

}  // namespace
}  // namespace lockstep::worker
