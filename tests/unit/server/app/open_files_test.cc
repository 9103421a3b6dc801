#include "server/app/open_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

// What RaiseOpenFilesLimit says in a process that may have so many files.
std::string RaiseWithin(rlim_t num_files, int num_ranks) {
  int answer[2];
  EXPECT_EQ(pipe(answer), 0);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {.rlim_cur = 10, .rlim_max = num_files};
    setrlimit(RLIMIT_NOFILE, &limit);
    const absl::Status status = RaiseOpenFilesLimit(num_ranks);
    rlimit raised{};
    getrlimit(RLIMIT_NOFILE, &raised);
    const std::string text = raised.rlim_cur != num_files ? "not raised" : status.ToString();
    const bool is_written = write(answer[1], text.data(), text.size()) > 0;
    _exit(is_written ? 0 : 1);
  }
  int exit_status = 0;
  EXPECT_EQ(waitpid(child, &exit_status, 0), child);
  close(answer[1]);
  std::string text(1024, ' ');
  const ssize_t size = read(answer[0], text.data(), text.size());
  close(answer[0]);
  return text.substr(0, size > 0 ? static_cast<size_t>(size) : 0);
}

TEST(OpenFilesTest, EachRankNeedsFilesOfItsOwn) {
  for (const int num_ranks : {1, 2, 4, 8}) {
    // A start takes 16 and 4 for each rank.
    EXPECT_GT(MinOpenFiles(num_ranks), 16U + 4U * static_cast<uint64_t>(num_ranks));
  }
}

TEST(OpenFilesTest, TheLimitIsRaisedAndRefusedWhereItIsTooLowForTheRanks) {
  EXPECT_EQ(RaiseWithin(40, 1), "OK");
  EXPECT_EQ(RaiseWithin(64, 4), "OK");
  EXPECT_THAT(RaiseWithin(40, 4), HasSubstr("40 files open at a time, and needs 64 to start"));
}

}  // namespace
}  // namespace lockstep::server
