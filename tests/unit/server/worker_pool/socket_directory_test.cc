#include "server/worker_pool/socket_directory.h"

#include <gtest/gtest.h>

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

TEST(SocketDirectory, RemovesWhatKilledServersLeftAndNothingElse) {
  const testing::TemporaryDirectory base;
  ASSERT_EQ(setenv("XDG_RUNTIME_DIR", base.path().c_str(), 1), 0);
  const std::filesystem::path abandoned = base.path() / "lockstep-aaaaaa";
  const std::filesystem::path with_files = base.path() / "lockstep-bbbbbb";
  const std::filesystem::path other_name = base.path() / "lockstep-cccccc";
  for (const auto& directory : {abandoned, with_files, base.path() / "lockstep-notes-2"}) {
    std::filesystem::create_directory(directory);
    std::ofstream(directory / "workers.sock") << "a socket left behind";
  }
  std::ofstream(with_files / "kept.txt") << "somebody's";
  std::ofstream(other_name) << "a file";
  const auto first = SocketDirectory::Make();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(std::filesystem::exists(abandoned));
  EXPECT_TRUE(std::filesystem::exists(with_files / "kept.txt"));
  EXPECT_TRUE(std::filesystem::exists(other_name));
  EXPECT_TRUE(std::filesystem::exists(base.path() / "lockstep-notes-2" / "workers.sock"));

  // One that is in use stays, however many servers start.
  const std::filesystem::path in_use = (*first)->socket_path().parent_path();
  EXPECT_EQ(in_use.parent_path(), base.path());
  const auto second = SocketDirectory::Make();
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(std::filesystem::exists(in_use));
  unsetenv("XDG_RUNTIME_DIR");
}

}  // namespace
}  // namespace lockstep::server
