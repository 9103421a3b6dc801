// The whole server under many streams at once: nothing lost, nothing mixed up, and a polite refusal
// of what is too much.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "lockstep/v1/admin.grpc.pb.h"
#include "lockstep/v1/inference.grpc.pb.h"
#include "server/sync/handoff.h"
#include "tests/testing/random_checkpoint.h"
#include "tests/testing/server_process.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ServerProcess;

// Long enough for a loaded machine; a test that passes waits for none of it.
constexpr std::chrono::seconds kPatience(100);

constexpr char kConfig[] = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
  "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096,
  "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "torch_dtype": "float32"})";

// How many streams are open, and a wait for their end.
class OpenStreams {
 public:
  void Add() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++num_open_;
  }
  void Remove() {
    const std::lock_guard<std::mutex> lock(mutex_);
    --num_open_;
    changed_.notify_all();
  }
  bool WaitUntilNone() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return num_open_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int num_open_ = 0;  // under mutex_
};

// One answer, read as it comes on gRPC's threads, or from Read() on. What it holds may be looked at
// once no stream is open.
class Stream final : public grpc::ClientReadReactor<v1::GenerateStreamResponse> {
 public:
  Stream(v1::Inference::Stub& stub, const v1::GenerateRequest& request, OpenStreams& open,
         bool reads_at_once = true)
      : request_(request), open_(open) {
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    open_.Add();
    stub.async()->GenerateStream(&context_, &request_, this);
    handoff_.Give();
    if (reads_at_once) {
      StartRead(&event_);
    } else {
      AddHold();
    }
    StartCall();
  }

  // Once, for a stream that did not read at once.
  void Read() {
    handoff_.Give();
    StartRead(&event_);
    RemoveHold();
  }

  void OnReadDone(bool ok) override {
    const server::HandoffScope step(handoff_);
    if (!ok) return;
    for (const uint32_t id : event_.delta().token_ids()) tokens_.push_back(id);
    if (event_.has_finished()) ++num_finished_;
    handoff_.Give();  // the next one may come before this one has returned
    StartRead(&event_);
  }
  void OnDone(const grpc::Status& status) override {
    handoff_.Take();
    status_ = status;
    open_.Remove();
  }

  const grpc::Status& status() const { return status_; }
  const std::vector<uint32_t>& tokens() const { return tokens_; }
  int num_finished() const { return num_finished_; }

 private:
  const v1::GenerateRequest request_;
  OpenStreams& open_;
  server::Handoff handoff_;  // before and after each of gRPC's steps
  grpc::ClientContext context_;
  v1::GenerateStreamResponse event_;
  grpc::Status status_;
  std::vector<uint32_t> tokens_;
  int num_finished_ = 0;
};

class LoadTest : public ::testing::Test {
 protected:
  void Start(std::vector<std::string> arguments) {
    testing::RandomCheckpointOptions checkpoint;
    checkpoint.config_json = kConfig;
    checkpoint.with_tokenizer = true;
    ASSERT_TRUE(testing::WriteRandomCheckpoint(directory_.path(), checkpoint).ok());
    ServerProcess::Options options;
    options.binary = std::string(LOCKSTEP_BINARY_DIR) + "/lockstep-server";
    options.arguments = std::move(arguments);
    for (const std::string argument :
         {"--model", directory_.path().c_str(), "--threads-per-rank", "1", "--kv-cache-memory",
          "64MiB", "--metrics-listen", "off"}) {
      options.arguments.push_back(argument);
    }
    auto server = ServerProcess::Start(options, kPatience);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    const auto channel =
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    inference_ = v1::Inference::NewStub(channel);
    admin_ = v1::Admin::NewStub(channel);
  }

  // Each with a prompt of its own.
  static v1::GenerateRequest Request(uint32_t index, uint32_t num_tokens) {
    v1::GenerateRequest request;
    for (const uint32_t id : {index % 256, index / 256 + 1, index * 7 % 256}) {
      request.mutable_token_ids()->add_ids(id);
    }
    request.mutable_sampling()->set_temperature(0);
    request.mutable_stopping()->set_max_new_tokens(num_tokens);
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }

  std::unique_ptr<Stream> Open(const v1::GenerateRequest& request, bool reads_at_once = true) {
    return std::make_unique<Stream>(*inference_, request, open_, reads_at_once);
  }

  v1::GetServerInfoResponse Info() {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    v1::GetServerInfoResponse info;
    EXPECT_TRUE(admin_->GetServerInfo(&context, {}, &info).ok());
    return info;
  }

  void ExpectNothingLeft() {
    const v1::GetServerInfoResponse info = Info();
    EXPECT_EQ(info.num_running(), 0u);
    EXPECT_EQ(info.num_waiting(), 0u);
  }

  // Resident memory of the server's own process, bytes.
  int64_t ServerMemory() {
    std::ifstream status(absl::StrCat("/proc/", server_->pid(), "/status"));
    std::string word;
    while (status >> word && word != "VmRSS:") {
    }
    int64_t kibibytes = 0;
    EXPECT_TRUE(status >> kibibytes);
    return kibibytes * 1024;
  }

  const testing::TemporaryDirectory directory_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  OpenStreams open_;
};

// Nobody reads the server's log meanwhile, and its pipe fills up: that holds up no answer.
TEST_F(LoadTest, AThousandStreamsAtOnceAllGetTheAnswerThatEachGetsAlone) {
  constexpr uint32_t kNumStreams = 1000;
  constexpr uint32_t kNumTokens = 24;
  ASSERT_NO_FATAL_FAILURE(Start({"--max-num-seqs", "128", "--max-queued-requests", "1000"}));
  std::vector<std::unique_ptr<Stream>> streams;
  for (uint32_t i = 0; i < kNumStreams; ++i) streams.push_back(Open(Request(i, kNumTokens)));
  ASSERT_TRUE(open_.WaitUntilNone());
  for (const auto& stream : streams) {
    EXPECT_TRUE(stream->status().ok()) << stream->status().error_message();
    EXPECT_EQ(stream->num_finished(), 1);
    EXPECT_EQ(stream->tokens().size(), kNumTokens);
  }
  ExpectNothingLeft();
  for (uint32_t i = 0; i < kNumStreams; i += 50) {
    const auto alone = Open(Request(i, kNumTokens));
    ASSERT_TRUE(open_.WaitUntilNone());
    EXPECT_EQ(alone->tokens(), streams[i]->tokens()) << i;
  }
}

// The delay of the only detail, which must be a RetryInfo; 0 otherwise.
double RetrySeconds(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::RetryInfo retry;
  if (!details.ParseFromString(status.error_details()) || details.details_size() != 1) return 0;
  if (!details.details(0).UnpackTo(&retry)) return 0;
  return static_cast<double>(retry.retry_delay().seconds()) + retry.retry_delay().nanos() * 1e-9;
}

TEST_F(LoadTest, BeyondTheQueueEveryRequestIsRefusedWithARetryDelayAndNoneIsLost) {
  constexpr uint32_t kNumRunning = 4;
  constexpr uint32_t kNumQueued = 4;
  constexpr uint32_t kNumStreams = 4 * (kNumRunning + kNumQueued);
  constexpr uint32_t kNumTokens = 1500;
  ASSERT_NO_FATAL_FAILURE(Start({"--max-num-seqs", absl::StrCat(kNumRunning),
                                 "--max-queued-requests", absl::StrCat(kNumQueued)}));
  std::vector<std::unique_ptr<Stream>> streams;
  for (uint32_t i = 0; i < kNumStreams; ++i) streams.push_back(Open(Request(i, kNumTokens)));
  ASSERT_TRUE(open_.WaitUntilNone());
  uint32_t num_answered = 0;
  for (const auto& stream : streams) {
    if (stream->status().ok()) {
      ++num_answered;
      EXPECT_EQ(stream->tokens().size(), kNumTokens);
      EXPECT_EQ(stream->num_finished(), 1);
      continue;
    }
    EXPECT_EQ(stream->status().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED)
        << stream->status().error_message();
    EXPECT_GT(RetrySeconds(stream->status()), 0);
    EXPECT_TRUE(stream->tokens().empty());
  }
  // More where the first ones were done before the last ones came.
  EXPECT_GE(num_answered, kNumRunning + kNumQueued);
  ExpectNothingLeft();
}

#ifdef LOCKSTEP_INSTRUMENTED
// A sanitizer keeps notes beside every byte.
constexpr int64_t kMaxBytesPerToken = 4096;
#else
constexpr int64_t kMaxBytesPerToken = 64;
#endif

// The answers of clients that read nothing are made to their ends, free their slots, and wait as
// text: a few bytes for each token, not a message.
TEST_F(LoadTest, StreamsThatNobodyReadsCostLittleAndHoldUpNobody) {
  constexpr uint32_t kNumStreams = 60;
  constexpr uint32_t kNumTokens = 2000;
  ASSERT_NO_FATAL_FAILURE(Start({"--max-num-seqs", "64"}));
  const auto first = Open(Request(1000, kNumTokens));
  ASSERT_TRUE(open_.WaitUntilNone());
  const int64_t memory_before = ServerMemory();
  std::vector<std::unique_ptr<Stream>> unread;
  for (uint32_t i = 0; i < kNumStreams; ++i) {
    unread.push_back(Open(Request(i, kNumTokens), /*reads_at_once=*/false));
  }
  // The engine is through with them although nobody has read a token.
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  const uint64_t num_expected = uint64_t{kNumTokens} * (kNumStreams + 1);
  while (Info().generated_tokens() < num_expected) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the answers wait for their readers";
    absl::SleepFor(absl::Milliseconds(20));
  }
  ExpectNothingLeft();
  EXPECT_LT(ServerMemory() - memory_before, kNumStreams * kNumTokens * kMaxBytesPerToken);

  for (const auto& stream : unread) stream->Read();
  ASSERT_TRUE(open_.WaitUntilNone());
  for (const auto& stream : unread) {
    EXPECT_TRUE(stream->status().ok()) << stream->status().error_message();
    EXPECT_EQ(stream->num_finished(), 1);
    EXPECT_EQ(stream->tokens().size(), kNumTokens);
  }
}

}  // namespace
}  // namespace lockstep
