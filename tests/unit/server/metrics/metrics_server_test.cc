#include "server/metrics/metrics_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <prometheus/registry.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <vector>

#include "server/metrics/engine_metrics.h"
#include "server/metrics/request_metrics.h"
#include "server/metrics/state_collector.h"
#include "tests/testing/wall_clock.h"
#include "tests/unit/server/metrics/idle_engine.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

struct Received {
  int status = 0;
  std::string body;
};

FileDescriptor Connect(const std::string& address) {
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  return fd;
}

// Sends `request`, in two parts, and reads until the server closes.
Received Exchange(const std::string& address, const std::string& request) {
  const FileDescriptor fd = Connect(address);
  const std::size_t half = request.size() / 2;
  send(fd.get(), request.data(), half, MSG_NOSIGNAL);
  send(fd.get(), request.data() + half, request.size() - half, MSG_NOSIGNAL);
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, n);
  if (answer.rfind("HTTP/1.1 ", 0) != 0) return {};
  return {std::stoi(answer.substr(9, 3)), answer.substr(answer.find("\r\n\r\n") + 4)};
}

Received Get(const std::string& address, const std::string& path) {
  return Exchange(address, "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n");
}

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = MetricsServer::Start("127.0.0.1:0",
                                       {{&registry_, &state_}, [this] { return serving_.load(); }});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // Labels appear with their first value.
  void EndOneWithAnError() { request_metrics_.CountFailure(absl::StatusCode::kUnauthenticated); }

  IdleEngine engine_;
  IdlePool pool_;
  prometheus::Registry registry_;
  EngineMetrics metrics_{registry_};
  RequestMetrics request_metrics_{registry_};
  StateCollector state_{engine_, pool_, "1.2.3"};
  std::atomic<bool> serving_ = false;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, ServesEveryMetricOnAPortOfItsChoice) {
  const Received answer = Get(server_->address(), "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("# TYPE lockstep_time_to_first_token_seconds histogram"));
  EXPECT_THAT(answer.body, HasSubstr("lockstep_requests_running 0\n"));
}

TEST_F(MetricsServerTest, HealthFollowsTheServer) {
  EXPECT_EQ(Get(server_->address(), "/healthz").status, 503);
  serving_ = true;
  const Received answer = Get(server_->address(), "/healthz");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "SERVING\n");
}

TEST_F(MetricsServerTest, AStepOfTheWallClockEndsNoConnection) {
  const FileDescriptor early = Connect(server_->address());
  EXPECT_EQ(Get(server_->address(), "/healthz").status, 503) << "the early one has been accepted";
  testing::StepWallClock(absl::Hours(1));
  EXPECT_EQ(Get(server_->address(), "/healthz").status, 503);
  const std::string request = "GET /healthz HTTP/1.1\r\n\r\n";
  send(early.get(), request.data(), request.size(), MSG_NOSIGNAL);
  char buffer[4096];
  EXPECT_GT(recv(early.get(), buffer, sizeof(buffer), 0), 0);
  testing::StepWallClock(-absl::Hours(1));
}

TEST_F(MetricsServerTest, KnowsNothingElse) {
  EXPECT_EQ(Get(server_->address(), "/").status, 404);
  EXPECT_EQ(Get(server_->address(), "/etc/passwd").status, 404);
  EXPECT_EQ(Get(server_->address(), "/metrics/../../etc/passwd").status, 404);
}

TEST_F(MetricsServerTest, SurvivesWhatIsNotHttp) {
  EXPECT_EQ(Exchange(server_->address(), "\x16\x03\x01 hello\r\n\r\n").status, 400);
  EXPECT_EQ(Exchange(server_->address(), "POST /metrics HTTP/1.1\r\n\r\n").status, 405);
  EXPECT_EQ(Exchange(server_->address(), "GET\r\n\r\n").status, 400);
  const Received head = Exchange(server_->address(), "HEAD /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_EQ(Get(server_->address(), "/metrics?name[]=x").status, 200);
}

TEST_F(MetricsServerTest, SilentConnectionsDoNotKeepOthersFromTheirAnswer) {
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 300; ++i) silent.push_back(Connect(server_->address()));
  EXPECT_EQ(Get(server_->address(), "/metrics").status, 200);
}

TEST_F(MetricsServerTest, APortThatIsTakenIsAnErrorThatNamesIt) {
  const auto second = MetricsServer::Start(server_->address(), {{}, [] { return true; }});
  ASSERT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(server_->address()));
}

// docs/METRICS.md is the list that dashboards are written from.
TEST_F(MetricsServerTest, EveryMetricIsInTheTableAndTheOtherWayRound) {
  EndOneWithAnError();
  pool_.ranks.resize(1);
  pool_.ranks[0].mutable_step_age()->set_seconds(1);
  pool_.ranks[0].add_start_phases()->set_name("weights");
  const auto names = [](const std::string& text, const std::regex& pattern) {
    std::set<std::string> found;
    for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it)
      found.insert((*it)[1]);
    return found;
  };
  std::ifstream file(std::string(LOCKSTEP_SOURCE_DIR) + "/docs/METRICS.md");
  const std::string table{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(
      names(Get(server_->address(), "/metrics").body, std::regex("# TYPE (lockstep_[a-z0-9_]+) ")),
      names(table, std::regex("\n\\| `(lockstep_[a-z0-9_]+)")));
}

TEST_F(MetricsServerTest, PromtoolHasNothingToSay) {
  if (std::system("command -v promtool >/dev/null") != 0)
    GTEST_SKIP() << "promtool is not installed";
  metrics_.OnToken(true, absl::Milliseconds(1));
  EndOneWithAnError();
  const auto path =
      std::filesystem::path(::testing::TempDir()) / ("metrics_" + std::to_string(getpid()));
  std::ofstream(path) << Get(server_->address(), "/metrics").body;
  const std::string out = path.string() + ".out";
  EXPECT_EQ(
      std::system(("promtool check metrics <" + path.string() + " >" + out + " 2>&1").c_str()), 0)
      << std::ifstream(out).rdbuf();
  std::filesystem::remove(path);
  std::filesystem::remove(out);
}

}  // namespace
}  // namespace lockstep::server
