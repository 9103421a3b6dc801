#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "client/connection.h"
#include "gmock/gmock.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace lockstep::client {
namespace {

using ::testing::HasSubstr;

// A server that is starting, then loads, and may become ready.
class LoadingServer : public v1::Admin::Service {
 public:
  // Ready from this look on; 0: never.
  explicit LoadingServer(int ready_at) : ready_at_(ready_at) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    context_.target = "127.0.0.1:" + std::to_string(port);
  }

  CommandContext& context() { return context_; }
  int num_looks() const { return num_looks_; }

 private:
  grpc::Status GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    const int look = ++num_looks_;
    response->set_state(look == ready_at_ ? v1::POOL_STATE_READY
                        : look == 1       ? v1::POOL_STATE_STARTING
                                          : v1::POOL_STATE_LOADING);
    return grpc::Status::OK;
  }

  const int ready_at_;
  std::atomic<int> num_looks_ = 0;
  CommandContext context_;
  std::unique_ptr<grpc::Server> server_;
};

double SecondsOf(const std::function<void()>& call) {
  const auto start = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(WaitUntilReady, GoesOnAsLongAsTheServerLoadsAndSaysEachStateOnceWithoutATerminal) {
  LoadingServer server(5);
  Connection connection(server.context());
  ::testing::internal::CaptureStderr();
  EXPECT_TRUE(connection.WaitUntilReady().ok());
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "starting the workers\nloading\n");
  EXPECT_EQ(server.num_looks(), 5);
}

TEST(WaitUntilReady, EndsAtTheTimeoutWhileTheServerLoads) {
  LoadingServer server(0);
  server.context().timeout = 0.3;
  Connection connection(server.context());
  grpc::Status status;
  EXPECT_LT(SecondsOf([&] { status = connection.WaitUntilReady(); }), 5);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("not ready after --timeout 0.3 s (loading)"));
}

TEST(WaitUntilReady, EndsAfterTheTimeToWaitWhileTheServerLoads) {
  LoadingServer server(0);
  server.context().wait = 0.3;
  Connection connection(server.context());
  grpc::Status status;
  EXPECT_LT(SecondsOf([&] { status = connection.WaitUntilReady(); }), 5);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("not ready after --wait 0.3 s (loading)"));
}

TEST(WaitUntilReady, TakesTheTimeToWaitAndNotTheTimeoutWhereBothAreGiven) {
  LoadingServer server(4);
  server.context().timeout = 0.1;
  server.context().wait = 60;
  Connection connection(server.context());
  EXPECT_TRUE(connection.WaitUntilReady().ok());
}

TEST(WaitUntilReady, DoesNotWaitForALoadingServerForZeroSeconds) {
  LoadingServer server(0);
  server.context().wait = 0;
  Connection connection(server.context());
  EXPECT_EQ(connection.WaitUntilReady().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server.num_looks(), 1);
}

}  // namespace
}  // namespace lockstep::client
