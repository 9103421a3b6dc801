#include "worker/link/control_link.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"

namespace lockstep::worker {
namespace {

using std::chrono::milliseconds;

constexpr absl::Duration kDialTimeout = absl::Seconds(60);
constexpr int kAcceptMs = 60'000;

// A frontend of which only the first words are needed: HTTP/2's SETTINGS, empty.
class SlowFrontend {
 public:
  SlowFrontend() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener_, generic, size), 0);
    EXPECT_EQ(listen(listener_, 8), 0);
    EXPECT_EQ(getsockname(listener_, generic, &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~SlowFrontend() {
    if (connection_ >= 0) close(connection_);
    close(listener_);
  }
  const std::string& address() const { return address_; }

  // Lets the first worker that dials wait so long, and then speaks to it. False: it has hung up
  // before.
  bool AnswerAfter(milliseconds delay) {
    pollfd dialled = {listener_, POLLIN, 0};
    if (poll(&dialled, 1, kAcceptMs) != 1) return false;
    connection_ = accept(listener_, nullptr, nullptr);
    pollfd hung_up = {connection_, POLLRDHUP, 0};
    if (poll(&hung_up, 1, static_cast<int>(delay.count())) != 0) return false;
    constexpr std::array<uint8_t, 9> kSettings = {0, 0, 0, 4, 0, 0, 0, 0, 0};
    return write(connection_, kSettings.data(), kSettings.size()) ==
           static_cast<ssize_t>(kSettings.size());
  }

 private:
  const int listener_;
  int connection_ = -1;
  std::string address_;
};

TEST(ControlLink, AFrontendThatTakesItsTimeToAnswerIsWaitedForAtItsFirstConnection) {
  SlowFrontend frontend;
  bool answered = false;
  std::thread thread([&] { answered = frontend.AnswerAfter(milliseconds(1500)); });
  const auto link = ControlLink::Dial(frontend.address(), kDialTimeout);
  thread.join();
  EXPECT_TRUE(answered) << "the worker hung up before";
  EXPECT_TRUE(link.ok()) << link.status();
}

}  // namespace
}  // namespace lockstep::worker
