#include "server/worker_pool/socket_directory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "tests/testing/temporary_directory.h"

namespace lockstep::server {
namespace {

TEST(SocketDirectory, IsForThisUserAloneAndGoesWithItsOwner) {
  std::filesystem::path directory;
  {
    const auto owner = SocketDirectory::Make();
    ASSERT_TRUE(owner.ok()) << owner.status();
    directory = (*owner)->socket_path().parent_path();
    EXPECT_EQ(std::filesystem::status(directory).permissions(), std::filesystem::perms::owner_all);
    std::ofstream((*owner)->socket_path()) << "a socket left behind";
  }
  EXPECT_FALSE(std::filesystem::exists(directory));
}

// As a server leaves it that is killed before its workers have dialled.
std::filesystem::path MakeAbandoned(const std::filesystem::path& directory, int hours) {
  std::filesystem::create_directory(directory);
  std::ofstream(directory / "workers.sock") << "a socket left behind";
  const auto now = std::filesystem::file_time_type::clock::now();
  std::filesystem::last_write_time(directory, now - std::chrono::hours(hours));
  return directory;
}

TEST(SocketDirectory, RemovesWhatKilledServersLeftDaysAgoAndNothingElse) {
  const testing::TemporaryDirectory base(testing::TemporaryDirectory::For::kSockets);
  ASSERT_EQ(setenv("XDG_RUNTIME_DIR", base.path().c_str(), 1), 0);
  const auto abandoned = MakeAbandoned(base.path() / "lockstep-aaaaaa", 30);
  const auto recent = MakeAbandoned(base.path() / "lockstep-bbbbbb", 20);
  const auto with_files = MakeAbandoned(base.path() / "lockstep-cccccc", 0);
  std::ofstream(with_files / "kept.txt") << "somebody's";
  std::filesystem::last_write_time(with_files, std::filesystem::last_write_time(abandoned));
  const auto other_name = MakeAbandoned(base.path() / "lockstep-notes-2", 30);
  const auto owner = SocketDirectory::Make();
  unsetenv("XDG_RUNTIME_DIR");
  ASSERT_TRUE(owner.ok()) << owner.status();
  EXPECT_EQ((*owner)->socket_path().parent_path().parent_path(), base.path());
  EXPECT_FALSE(std::filesystem::exists(abandoned));
  EXPECT_TRUE(std::filesystem::exists(recent / "workers.sock"));
  EXPECT_TRUE(std::filesystem::exists(with_files / "kept.txt"));
  EXPECT_TRUE(std::filesystem::exists(other_name / "workers.sock"));
}

}  // namespace
}  // namespace lockstep::server
