#include "server/app/unsent_bytes.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace lockstep::server {
namespace {

TEST(UnsentBytes, AreThoseThatThePeerHasNotTaken) {
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listening, generic, size), 0);
  ASSERT_EQ(listen(listening, 1), 0);
  ASSERT_EQ(getsockname(listening, generic, &size), 0);
  const uint16_t port = ntohs(address.sin_port);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(connect(client, generic, size), 0);
  const int connection = accept(listening, nullptr, nullptr);
  ASSERT_GE(connection, 0);
  EXPECT_EQ(NumUnsentBytes(port), 0);

  // More than the client's kernel takes for it.
  const std::string bytes(size_t{1} << 20, 'x');
  ssize_t num_written = 0;
  for (ssize_t n = 0; n >= 0; n = send(connection, bytes.data(), bytes.size(), MSG_DONTWAIT)) {
    num_written += n;
  }
  EXPECT_GT(NumUnsentBytes(port), 0);
  EXPECT_EQ(NumUnsentBytes(static_cast<uint16_t>(port ^ 1)), 0);

  std::string buffer(size_t{1} << 20, '\0');
  for (ssize_t left = num_written; left > 0;) {
    const ssize_t n = recv(client, buffer.data(), buffer.size(), 0);
    ASSERT_GT(n, 0);
    left -= n;
  }
  while (NumUnsentBytes(port) > 0) usleep(1000);  // until the last is acknowledged
  for (const int fd : {client, connection, listening}) close(fd);
}

}  // namespace
}  // namespace lockstep::server
