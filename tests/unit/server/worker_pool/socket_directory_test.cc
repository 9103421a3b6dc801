#include "server/worker_pool/socket_directory.h"

#include <gtest/gtest.h>

#include <fstream>

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

}  // namespace
}  // namespace lockstep::server
