// The whole server with its workers: what clients and operators see, in good times and bad.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lockstep/v1/admin.grpc.pb.h"
#include "lockstep/v1/inference.grpc.pb.h"
#include "tests/integration/real_server.h"
#include "tests/testing/server_process.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using testing::ServerProcess;
using testing::WaitUntilGone;

// Of the server, longer than kPatience: what is found within that was not found by waiting for
// this.
constexpr char kDistantTimeout[] = "10m";

std::unique_ptr<v1::Inference::Stub> Connect(const std::string& address) {
  return v1::Inference::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
}

// One stream on the long model that ends when it has this many tokens.
class LongStream {
 public:
  // With alternatives a token takes some hundred bytes instead of a few.
  LongStream(const std::string& address, uint32_t num_tokens, uint32_t num_alternatives = 0)
      : stub_(Connect(address)) {
    v1::GenerateRequest request;
    for (uint32_t id : {10, 20, 30}) request.mutable_token_ids()->add_ids(id);
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_new_tokens(num_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    if (num_alternatives > 0) request.mutable_output()->set_logprobs(num_alternatives);
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    reader_ = stub_->GenerateStream(&context_, request);
  }

  bool ReadUntilFirstToken() {
    while (Read()) {
      if (num_tokens_ > 0) return true;
    }
    return false;
  }
  grpc::Status ReadToEnd() {
    while (Read()) continue;
    return reader_->Finish();
  }
  uint32_t num_tokens() const { return num_tokens_; }
  bool has_finished() const { return has_finished_; }

 private:
  bool Read() {
    v1::GenerateStreamResponse event;
    if (!reader_->Read(&event)) return false;
    if (event.has_delta()) num_tokens_ += static_cast<uint32_t>(event.delta().token_ids_size());
    if (event.has_finished()) has_finished_ = true;
    return true;
  }

  std::unique_ptr<v1::Inference::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>> reader_;
  uint32_t num_tokens_ = 0;
  bool has_finished_ = false;
};

constexpr uint32_t kEndless = 30'000;

std::vector<uint32_t> GreedyTokens(const std::string& address, const std::string& question) {
  v1::GenerateRequest request;
  auto& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content(question);
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_new_tokens(64);
  v1::GenerateResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const grpc::Status status = Connect(address)->Generate(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  if (response.sequences_size() != 1) return {};
  return {response.sequences(0).token_ids().begin(), response.sequences(0).token_ids().end()};
}

TEST(ServerTest, OneTwoAndFourRanksGiveTheSameGreedyTokens) {
  std::map<std::string, std::vector<uint32_t>> expected;
  for (int num_ranks : {1, 2, 4}) {
    auto server = StartServer(DemoModel(), num_ranks, {"--dtype", "float32"});
    ASSERT_NE(server, nullptr);
    EXPECT_EQ(server->Workers().size(), num_ranks);
    for (const char* question : {"What is 12 + 30?", "Tell me a story about a fox."}) {
      const auto tokens = GreedyTokens(server->address(), question);
      EXPECT_GT(tokens.size(), 1);
      EXPECT_EQ(expected.try_emplace(question, tokens).first->second, tokens) << num_ranks;
    }
  }
}

TEST(ServerTest, GetServerInfoReportsEveryRank) {
  auto server = StartServer(DemoModel(), 2);
  ASSERT_NE(server, nullptr);
  auto admin = v1::Admin::NewStub(
      grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  const grpc::Status status = admin->GetServerInfo(&context, {}, &info);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(info.state(), v1::POOL_STATE_READY);
  ASSERT_EQ(info.ranks_size(), 2);
  const auto workers = server->Workers();
  ASSERT_EQ(workers.size(), 2);
  for (const v1::RankInfo& rank : info.ranks()) {
    EXPECT_EQ(rank.pid(), workers[rank.rank()]);
    EXPECT_GT(rank.weight_bytes(), 0);
    EXPECT_GT(rank.kv_cache_bytes(), 0);
    EXPECT_THAT(rank.device(), HasSubstr("cpu"));
  }
}

TEST(ServerTest, TheLogLevelLeavesOutWhatIsBelowIt) {
  for (const std::string level : {"info", "warn"}) {
    auto server = StartServer(DemoModel(), 1, {"--log-level", level});
    ASSERT_NE(server, nullptr);
    server->Signal(SIGTERM);
    EXPECT_EQ(server->WaitForExit(kPatience), 0);
    EXPECT_EQ(absl::StrContains(server->output(), " info "), level == "info") << server->output();
  }
}

TEST(ServerTest, AKilledWorkerEndsEveryStreamWithUnavailableAndTheServerWithStatus3) {
  for (int victim : {0, 1}) {
    auto server = StartServer(LongModel(), 2,
                              {"--kv-cache-memory", "256MiB", "--step-timeout", kDistantTimeout});
    ASSERT_NE(server, nullptr);
    LongStream first(server->address(), kEndless);
    LongStream second(server->address(), kEndless);
    ASSERT_TRUE(first.ReadUntilFirstToken());
    ASSERT_TRUE(second.ReadUntilFirstToken());
    const auto workers = server->Workers();
    ASSERT_EQ(workers.size(), 2);
    kill(workers[victim], SIGKILL);
    for (LongStream* stream : {&first, &second}) {
      const grpc::Status status = stream->ReadToEnd();
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    }
    EXPECT_EQ(server->WaitForExit(kPatience), 3);
    EXPECT_THAT(server->output(), HasSubstr(absl::StrCat("rank ", victim, " (pid ", workers[victim],
                                                         ") was killed")));
    for (pid_t worker : workers) EXPECT_TRUE(WaitUntilGone(worker, kPatience));
  }
}

TEST(ServerTest, AStoppedWorkerIsFoundByTheStepDeadline) {
  auto server =
      StartServer(LongModel(), 2, {"--kv-cache-memory", "256MiB", "--step-timeout", "3s"});
  ASSERT_NE(server, nullptr);
  LongStream stream(server->address(), kEndless);
  ASSERT_TRUE(stream.ReadUntilFirstToken());
  const auto workers = server->Workers();
  ASSERT_EQ(workers.size(), 2);
  kill(workers[1], SIGSTOP);
  EXPECT_EQ(stream.ReadToEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(server->WaitForExit(kPatience), 3);
  EXPECT_THAT(server->output(), HasSubstr("did not answer step"));
  for (pid_t worker : workers) EXPECT_TRUE(WaitUntilGone(worker, kPatience));
}

TEST(ServerTest, NoWorkerOutlivesAKilledServer) {
  auto server = StartServer(LongModel(), 2, {"--kv-cache-memory", "256MiB"});
  ASSERT_NE(server, nullptr);
  LongStream stream(server->address(), kEndless);
  ASSERT_TRUE(stream.ReadUntilFirstToken());
  const auto workers = server->Workers();
  ASSERT_EQ(workers.size(), 2);
  server->Signal(SIGKILL);
  for (pid_t worker : workers) EXPECT_TRUE(WaitUntilGone(worker, kPatience));
}

TEST(ServerTest, SigtermToAllOfItsProcessesLetsAStreamFinishAndRefusesNewOnes) {
  auto server = StartServer(LongModel(), 2, {"--kv-cache-memory", "256MiB"});
  ASSERT_NE(server, nullptr);
  constexpr uint32_t kNumTokens = 2000;
  LongStream stream(server->address(), kNumTokens);
  ASSERT_TRUE(stream.ReadUntilFirstToken());
  const auto workers = server->Workers();
  // Reads all the time, as a client does: a drained server waits for the last bytes for a second.
  auto reading = std::async(std::launch::async, [&stream] { return stream.ReadToEnd(); });
  for (pid_t worker : workers) kill(worker, SIGTERM);
  server->Signal(SIGTERM);
  ASSERT_TRUE(server->WaitForOutput("running requests have", kPatience));
  LongStream late(server->address(), 1);
  EXPECT_EQ(late.ReadToEnd().error_code(), grpc::StatusCode::UNAVAILABLE);
  const grpc::Status status = reading.get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(stream.num_tokens(), kNumTokens);
  EXPECT_TRUE(stream.has_finished());
  EXPECT_EQ(server->WaitForExit(kPatience), 0);
  for (pid_t worker : workers) EXPECT_TRUE(WaitUntilGone(worker, kPatience));
}

TEST(ServerTest, ADrainWaitsForAReaderThatIsSlowerThanTheModel) {
  auto server = StartServer(LongModel(), 1, {"--kv-cache-memory", "256MiB"});
  ASSERT_NE(server, nullptr);
  constexpr uint32_t kNumTokens = 4000;
  LongStream stream(server->address(), kNumTokens, /*num_alternatives=*/20);
  ASSERT_TRUE(stream.ReadUntilFirstToken());
  ASSERT_TRUE(server->WaitForOutput("\"method\":\"GenerateStream\"", kPatience));
  // The engine has nothing more to do. What follows is longer than the time that the last bytes of
  // all get when nobody waits for an answer.
  server->Signal(SIGTERM);
  ASSERT_TRUE(server->WaitForOutput("running requests have", kPatience));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  const grpc::Status status = stream.ReadToEnd();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(stream.num_tokens(), kNumTokens);
  EXPECT_TRUE(stream.has_finished());
  // gRPC's threads, which may sleep for ten seconds, are not waited for.
  EXPECT_EQ(server->WaitForExit(seconds(8)), 0);
}

TEST(ServerTest, TheGracePeriodBoundsADrain) {
  auto server =
      StartServer(LongModel(), 1, {"--kv-cache-memory", "256MiB", "--grace-period", "200ms"});
  ASSERT_NE(server, nullptr);
  LongStream stream(server->address(), kEndless);
  ASSERT_TRUE(stream.ReadUntilFirstToken());
  server->Signal(SIGTERM);
  const grpc::Status status = stream.ReadToEnd();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("shutting down"));
  EXPECT_FALSE(stream.has_finished());
  EXPECT_EQ(server->WaitForExit(kPatience), 0);
}

TEST(ServerTest, ASecondSignalEndsADrain) {
  auto server = StartServer(LongModel(), 1,
                            {"--kv-cache-memory", "256MiB", "--grace-period", kDistantTimeout});
  ASSERT_NE(server, nullptr);
  LongStream stream(server->address(), kEndless);
  ASSERT_TRUE(stream.ReadUntilFirstToken());
  server->Signal(SIGINT);
  ASSERT_TRUE(server->WaitForOutput("running requests have", kPatience));
  server->Signal(SIGINT);
  EXPECT_TRUE(server->WaitForExit(kPatience).has_value());
  EXPECT_FALSE(stream.ReadToEnd().ok());
}

// Its own end waits for standard error.
#ifdef LOCKSTEP_THREAD_SANITIZED
constexpr bool kIsThreadSanitized = true;
#else
constexpr bool kIsThreadSanitized = false;
#endif

// A server whose output nobody reads any more, and nothing fits into.
std::unique_ptr<ServerProcess> StartServerWithStuckLog() {
  ServerProcess::Options options = ServerOptions(
      {"--model", DemoModel().string(), "--tensor-parallel-size", "2", "--threads-per-rank", "1"});
  options.pipe_bytes = 4096;
  auto server = ServerProcess::Start(options, kPatience);
  EXPECT_TRUE(server.ok()) << server.status();
  if (!server.ok()) return nullptr;
  const auto stub = Connect((*server)->address());
  for (int i = 0; i < 40; ++i) {
    v1::GenerateRequest request;
    request.set_text("x");
    request.mutable_stopping()->set_max_new_tokens(1);
    grpc::ClientContext context;
    v1::GenerateResponse response;
    EXPECT_TRUE(stub->Generate(&context, request, &response).ok());
  }
  return *std::move(server);
}

TEST(ServerTest, WhoeverHasStoppedReadingTheLogCannotKeepTheProcess) {
  if (kIsThreadSanitized) GTEST_SKIP() << "ThreadSanitizer waits for standard error";
  auto server = StartServerWithStuckLog();
  ASSERT_NE(server, nullptr);
  server->Signal(SIGTERM);
  EXPECT_TRUE(WaitUntilGone(server->pid(), kPatience));
  EXPECT_EQ(server->WaitForExit(kPatience), 0);
}

TEST(ServerTest, AWorkersDeathEndsTheProcessWithAStuckLogToo) {
  if (kIsThreadSanitized) GTEST_SKIP() << "ThreadSanitizer waits for standard error";
  auto server = StartServerWithStuckLog();
  ASSERT_NE(server, nullptr);
  kill(server->Workers().at(0), SIGKILL);
  EXPECT_TRUE(WaitUntilGone(server->pid(), kPatience));
  EXPECT_EQ(server->WaitForExit(kPatience), 3);
}

TEST(ServerTest, ServesWithWorkersStartedByHand) {
  const testing::TemporaryDirectory directory(testing::TemporaryDirectory::For::kSockets);
  const std::string link = absl::StrCat("unix:", directory.path().string(), "/link.sock");
  const std::map<std::string, std::string> token = {{"LOCKSTEP_POOL_TOKEN", "secret"}};
  ServerProcess::Options options =
      ServerOptions({"--model", DemoModel().string(), "--tensor-parallel-size", "2",
                     "--external-workers", "--worker-listen", link});
  options.variables = token;
  auto server = ServerProcess::Spawn(options);
  ASSERT_TRUE(server.ok());
  std::vector<std::unique_ptr<ServerProcess>> workers;
  for (int rank : {0, 1}) {
    ServerProcess::Options worker;
    worker.binary = std::string(LOCKSTEP_BINARY_DIR) + "/lockstep-worker";
    worker.arguments = {"--frontend", link};
    worker.takes_ports = false;
    worker.variables = token;
    worker.variables["RANK"] = absl::StrCat(rank);
    worker.variables["WORLD_SIZE"] = "2";
    auto process = ServerProcess::Spawn(worker);
    ASSERT_TRUE(process.ok());
    workers.push_back(*std::move(process));
  }
  ASSERT_TRUE((*server)->WaitUntilListening(kPatience)) << (*server)->output();
  EXPECT_GT(GreedyTokens((*server)->address(), "What is 12 + 30?").size(), 1);
  (*server)->Signal(SIGTERM);
  EXPECT_EQ((*server)->WaitForExit(kPatience), 0);
  for (auto& worker : workers) EXPECT_EQ(worker->WaitForExit(kPatience), 0) << worker->output();
}

}  // namespace
}  // namespace lockstep
