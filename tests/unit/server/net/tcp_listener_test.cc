#include "server/net/tcp_listener.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

bool CanConnect(int port) {
  const FileDescriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<in_port_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
}

TEST(TcpListener, ListensOnAFreePort) {
  const auto listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(listener->sockets.size(), 1u);
  EXPECT_GT(listener->port, 0);
  EXPECT_TRUE(CanConnect(listener->port));
}

TEST(TcpListener, ANameIsListenedOnAtAllItsAddressesOnOnePort) {
  const auto listener = Listen("localhost:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_GE(listener->sockets.size(), 1u);
  EXPECT_TRUE(CanConnect(listener->port));
}

TEST(TcpListener, EveryAddressHasLoopbackToo) {
  for (const char* host : {"0.0.0.0", "[::]", "*"}) {
    const auto listener = Listen(absl::StrCat(host, ":0"));
    ASSERT_TRUE(listener.ok()) << host << ": " << listener.status();
    EXPECT_TRUE(CanConnect(listener->port)) << host;
  }
}

TEST(TcpListener, APortThatIsInUseIsRefusedWhicheverAddressHasIt) {
  const auto first = Listen("127.0.0.1:0");
  ASSERT_TRUE(first.ok()) << first.status();
  for (const char* host : {"127.0.0.1", "localhost", "0.0.0.0", "[::]"}) {
    const auto second = Listen(absl::StrCat(host, ":", first->port));
    EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << host;
    EXPECT_EQ(second.status().message(), "Address already in use") << host;
  }
}

TEST(TcpListener, SaysWhyAHostCannotBeListenedOn) {
  const auto foreign = Listen("192.0.2.1:0");
  EXPECT_EQ(foreign.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(foreign.status().message(), "Cannot assign requested address");
  EXPECT_FALSE(Listen("no-such-host.invalid:0").ok());
  EXPECT_FALSE(Listen("127.0.0.1").ok());
}

}  // namespace
}  // namespace lockstep::server
