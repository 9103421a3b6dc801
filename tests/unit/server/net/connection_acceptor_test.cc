#include "server/net/connection_acceptor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "absl/time/time.h"
#include "server/sync/mutex.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

FileDescriptor Dial(int port) {
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<in_port_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  return fd;
}

class Connections {
 public:
  void Add(FileDescriptor connection) {
    MutexLock lock(mutex_);
    all_.push_back(std::move(connection));
    changed_.NotifyAll();
  }
  bool WaitFor(std::size_t num) {
    MutexLock lock(mutex_);
    while (all_.size() < num) {
      if (!changed_.WaitFor(mutex_, kPatience)) return false;
    }
    return true;
  }
  std::size_t size() {
    MutexLock lock(mutex_);
    return all_.size();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<FileDescriptor> all_ ABSL_GUARDED_BY(mutex_);
};

TEST(ConnectionAcceptor, TakesConnectionsUntilItsEnd) {
  auto listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const int port = listener->port;
  Connections connections;
  auto acceptor =
      ConnectionAcceptor::Start(*std::move(listener), /*num_reserved=*/0,
                                [&](FileDescriptor fd) { connections.Add(std::move(fd)); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  const FileDescriptor first = Dial(port);
  const FileDescriptor second = Dial(port);
  EXPECT_TRUE(connections.WaitFor(2));
  acceptor->reset();
  const auto again = Listen(absl::StrCat("127.0.0.1:", port));
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST(ConnectionAcceptor, GoesOnWhenThereAreFileDescriptorsAgain) {
  auto listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const int port = listener->port;
  Connections connections;
  const auto acceptor =
      ConnectionAcceptor::Start(*std::move(listener), /*num_reserved=*/0,
                                [&](FileDescriptor fd) { connections.Add(std::move(fd)); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  FileDescriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  rlimit none = before;
  // None is left above the client's.
  none.rlim_cur = static_cast<rlim_t>(client.get()) + 1;
  std::vector<FileDescriptor> fillers;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  while (true) {
    FileDescriptor filler(dup(client.get()));
    if (!filler.is_open()) break;
    fillers.push_back(std::move(filler));
  }
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<in_port_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(connections.size(), 0u);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(connections.WaitFor(1));
}

TEST(ConnectionAcceptor, LeavesDescriptorsToOthers) {
  auto listener = Listen("127.0.0.1:0");
  ASSERT_TRUE(listener.ok()) << listener.status();
  const int port = listener->port;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = 40;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  Connections connections;
  const auto acceptor =
      ConnectionAcceptor::Start(*std::move(listener), /*num_reserved=*/20,
                                [&](FileDescriptor fd) { connections.Add(std::move(fd)); });
  ASSERT_TRUE(acceptor.ok()) << acceptor.status();
  // Each takes two here, its client's end too.
  std::vector<FileDescriptor> clients;
  for (int i = 0; i < 12; ++i) clients.push_back(Dial(port));
  EXPECT_TRUE(connections.WaitFor(1));
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_LT(connections.size(), 12u);
  for (const FileDescriptor& client : clients) EXPECT_TRUE(client.is_open());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(connections.WaitFor(12));
}

}  // namespace
}  // namespace lockstep::server
