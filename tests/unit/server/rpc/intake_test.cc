// Requests that the engine does not have yet: they hold up nobody, and end at any time.
#include "server/rpc/intake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

constexpr int kNumLong = 16;
constexpr int kContext = 1 << 13;

// Requests with texts too long for the context, more of them than there are threads to find that
// out.
class Backlog {
 public:
  explicit Backlog(Frontend& frontend) {
    request_.set_text(std::string(kContext * 60, 'x'));
    for (int i = 0; i < kNumLong; ++i) {
      threads_.emplace_back([this, &frontend] {
        grpc::ClientContext context;
        v1::GenerateResponse response;
        const auto status = frontend.inference().Generate(&context, request_, &response);
        EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
        ++num_done_;
      });
    }
    // All of them are there: what comes now has to wait for its turn.
    while (frontend.server().num_open_calls() + num_done_ < kNumLong) std::this_thread::yield();
  }
  ~Backlog() {
    for (std::thread& thread : threads_) thread.join();
  }
  bool is_done() const { return num_done_ == kNumLong; }

 private:
  v1::GenerateRequest request_;
  std::atomic<int> num_done_ = 0;
  std::vector<std::thread> threads_;
};

TEST(Intake, HoldsUpNeitherAStreamNorItsCancellationNorAdmin) {
  Frontend frontend({.answer = "", .mode = kManual, .max_model_len = kContext});
  grpc::ClientContext context;
  auto reader = frontend.inference().GenerateStream(&context, ParseRequest("text: 'x'"));
  EXPECT_TRUE(frontend.WaitForRequests(1));
  const Backlog backlog(frontend);
  EXPECT_TRUE(frontend.pool().WaitAndRunStep());
  v1::GenerateStreamResponse response;
  EXPECT_TRUE(reader->Read(&response) && response.has_started());
  EXPECT_TRUE(reader->Read(&response) && response.has_delta());
  context.TryCancel();
  while (frontend.pool().RunStep()) {
  }
  EXPECT_TRUE(frontend.WaitUntilIdle());
  grpc::ClientContext admin;
  v1::GetServerInfoResponse info;
  EXPECT_TRUE(frontend.admin().GetServerInfo(&admin, {}, &info).ok());
  EXPECT_FALSE(backlog.is_done()) << "there was no backlog any more";
  reader->Finish();
}

TEST(Intake, ACallThatIsCancelledWhileItWaitsForItsTurnEndsAtOnce) {
  Frontend frontend({.answer = "a", .max_model_len = kContext});
  const Backlog backlog(frontend);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(10));
  v1::GenerateResponse response;
  auto request = ParseRequest("request_id: 'waits'");
  request.set_text(std::string(2 * Intake::kMaxShort, 'x'));
  EXPECT_EQ(frontend.inference().Generate(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  v1::ForwardRequest forward;
  while (forward.ByteSizeLong() <= Intake::kMaxShort) {
    v1::TokenIds& prompt = *forward.add_prompts();
    for (int i = 0; i < kContext; ++i) prompt.add_ids(200);
  }
  grpc::ClientContext other;
  other.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(10));
  v1::ForwardResponse logits;
  EXPECT_EQ(frontend.inference().Forward(&other, forward, &logits).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_FALSE(backlog.is_done()) << "there was no backlog any more";
}

TEST(Intake, ShortRequestsAreNotHeldUpByLongOnes) {
  Frontend frontend({.answer = "ab", .max_model_len = kContext});
  const Backlog backlog(frontend);
  const auto answer = Stream(frontend, ParseRequest("text: 'x'"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "ab");
  EXPECT_FALSE(backlog.is_done()) << "there was no backlog any more";
}

// By whom.
class DrainedServer : public ::testing::TestWithParam<std::string> {};

TEST_P(DrainedServer, DoesNotWaitForCallsThatComeNow) {
  Frontend frontend({.answer = "a"});
  if (GetParam() == "its process") {
    frontend.server().Drain();
  } else {
    grpc::ClientContext context;
    v1::DrainResponse response;
    ASSERT_TRUE(frontend.admin().Drain(&context, {}, &response).ok());
  }
  std::atomic<bool> is_done = false;
  std::thread caller([&] {
    for (int i = 0; i < 100; ++i) {
      const auto refused = Stream(frontend, ParseRequest("text: 'x'"));
      EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    }
    is_done = true;
  });
  int64_t most = 0;
  while (!is_done) most = std::max(most, frontend.server().num_open_calls());
  caller.join();
  EXPECT_EQ(most, 0);
}

INSTANTIATE_TEST_SUITE_P(By, DrainedServer, ::testing::Values("its process", "a client"));

TEST(Intake, AFullQueueRefusesBeforeThePromptIsLookedAt) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 1, .max_queued_requests = 1});
  grpc::ClientContext contexts[2];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>>> streams;
  for (grpc::ClientContext& context : contexts) {
    streams.push_back(frontend.inference().GenerateStream(&context, ParseRequest("text: 'x'")));
    EXPECT_TRUE(frontend.WaitForRequests(streams.size()));
  }
  const auto refused = Stream(frontend, ParseRequest("text: '" + std::string(5000, 'x') + "'"));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(refused.status));
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (auto& stream : streams) ReadStream(*stream);
}

// A guide that takes long to compile; another one for each `number`.
void AddLargeGuide(int number, v1::GenerateRequest& request) {
  for (int i = 0; i < 4000; ++i) {
    request.mutable_guide()->mutable_choice()->add_choices(
        absl::StrCat(number, "-", i * 7919, std::string(240, 'a' + i % 26)));
  }
}

TEST(Intake, AbortEndsARequestWhoseGuideIsStillToBeCompiled) {
  Frontend frontend({.answer = "", .mode = kManual});
  // More than the library compiles at a time.
  grpc::ClientContext contexts[4];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>>> others;
  for (grpc::ClientContext& context : contexts) {
    auto request = ParseRequest("text: 'x'");
    AddLargeGuide(static_cast<int>(others.size()), request);
    others.push_back(frontend.inference().GenerateStream(&context, request));
  }
  auto request = ParseRequest("text: 'x' request_id: 'mine'");
  AddLargeGuide(4, request);
  grpc::ClientContext context;
  const auto reader = frontend.inference().GenerateStream(&context, request);
  grpc::Status aborted(grpc::StatusCode::NOT_FOUND, "");
  while (aborted.error_code() == grpc::StatusCode::NOT_FOUND) {
    v1::AbortRequest abort;
    v1::AbortResponse response;
    abort.set_request_id("mine");
    grpc::ClientContext admin;
    aborted = frontend.admin().Abort(&admin, abort, &response);
  }
  EXPECT_TRUE(aborted.ok()) << aborted.error_message();
  const auto answer = ReadStream(*reader);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(answer.status.error_message(),
              HasSubstr("ended by Admin.Abort while guide.choice was compiled"));
  for (grpc::ClientContext& other : contexts) other.TryCancel();
  for (auto& other : others) ReadStream(*other);
}

TEST(Intake, ARequestThatIsRefusedLeavesItsIdFree) {
  Frontend frontend({.answer = "a"});
  const auto refused = Stream(frontend, ParseRequest("text: '' request_id: 'mine'"));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto answer = Stream(frontend, ParseRequest("text: 'x' request_id: 'mine'"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
}

TEST(Intake, ParametersAreLookedAtBeforeTheGuideIsCompiled) {
  Frontend frontend({.answer = "", .mode = kManual});
  const auto answer = Stream(frontend, ParseRequest(R"(text: 'x' sampling { temperature: -1 }
      guide { regex: '(' })"));
  EXPECT_EQ(FieldOf(answer.status), "sampling.temperature");
}

TEST(Intake, TheTimeLimitHoldsWhileAGuideIsCompiled) {
  Frontend frontend({.answer = "", .mode = kManual});
  v1::GenerateRequest request = ParseRequest("text: 'x' stopping { time_limit_ms: 1 }");
  AddLargeGuide(0, request);
  const auto answer = Stream(frontend, request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(answer.status.error_message(),
              HasSubstr("stopping.time_limit_ms: 1 ms passed while guide.choice was compiled"));
}

}  // namespace
}  // namespace lockstep::server
