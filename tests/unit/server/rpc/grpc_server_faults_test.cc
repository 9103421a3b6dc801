// What clients, operators and workers may do to a running server.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/testing/wall_clock.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;
// Runs steps until the engine has no more, on the test's thread.
void RunStepsUntilIdle(Frontend& frontend) {
  const absl::Time give_up = absl::Now() + absl::Seconds(60);
  while (absl::Now() < give_up) {
    if (frontend.pool().WaitAndRunStep(absl::Milliseconds(5))) continue;
    const EngineSnapshot now = frontend.engine().Snapshot();
    if (now.num_running + now.num_waiting == 0) return;
  }
  ADD_FAILURE() << "requests are still alive";
}

// Each prompt of one token.
grpc::Status Forward(Frontend& frontend, int num_prompts) {
  v1::ForwardRequest request;
  for (int i = 0; i < num_prompts; ++i) request.add_prompts()->add_ids(1);
  grpc::ClientContext context;
  v1::ForwardResponse response;
  return frontend.inference().Forward(&context, request, &response);
}

// A stream that has given its first token.
class OpenStream {
 public:
  OpenStream(Frontend& frontend, const v1::GenerateRequest& request,
             std::chrono::minutes deadline = std::chrono::hours(1)) {
    context_.set_deadline(std::chrono::system_clock::now() + deadline);
    reader_ = frontend.inference().GenerateStream(&context_, request);
    EXPECT_TRUE(frontend.pool().WaitAndRunStep());
    v1::GenerateStreamResponse response;
    EXPECT_TRUE(reader_->Read(&response) && response.has_started());
    EXPECT_TRUE(reader_->Read(&response) && response.has_delta());
  }
  grpc::ClientContext& context() { return context_; }
  StreamedAnswer Rest() { return ReadStream(*reader_); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>> reader_;
};

v1::PoolState StateOf(Frontend& frontend) {
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  EXPECT_TRUE(frontend.admin().GetServerInfo(&context, {}, &info).ok());
  return info.state();
}

TEST(GrpcServerFaults, TextThatIsNotUtf8IsAnInvalidArgumentThatNamesTheField) {
  Frontend frontend({.answer = "ok"});
  const std::string bad("\x1a\x02\xC3\x28");  // text = 3
  for (const char* method : {"Generate", "GenerateStream"}) {
    const auto status = CallRaw(frontend, std::string("/lockstep.v1.Inference/") + method, bad);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(FieldOf(status), "text");
  }
  EXPECT_EQ(Stream(frontend, ParseRequest("text: 'x'")).text, "ok");
}

TEST(GrpcServerFaults, BytesThatAreNoRequestAreRefusedByEveryMethod) {
  Frontend frontend({.answer = "ok"});
  const std::string methods[] = {
      "lockstep.v1.Inference/Generate",     "lockstep.v1.Inference/GenerateStream",
      "lockstep.v1.Inference/Forward",      "lockstep.v1.Inference/Tokenize",
      "lockstep.v1.Inference/Detokenize",   "lockstep.v1.Admin/Abort",
      "lockstep.v1.Inference/GetModelInfo", "lockstep.v1.Admin/Drain",
      "lockstep.v1.Admin/GetServerInfo"};
  for (const auto& method : methods) {
    const auto status = CallRaw(frontend, "/" + method, "\xff\xff\xff");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
  }
  EXPECT_EQ(Stream(frontend, ParseRequest("text: 'x'")).text, "ok");
}

TEST(GrpcServerFaults, BadRequestsNameTheFieldAndLeaveOthersAlone) {
  Frontend frontend({.answer = "", .mode = kManual});
  OpenStream good(frontend, ParseRequest("text: 'x' stopping { max_new_tokens: 4 }"));
  const auto bad = Stream(frontend, ParseRequest("text: 'x' sampling { top_p: 2 }"));
  EXPECT_EQ(bad.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(bad.status), "sampling.top_p");
  EXPECT_EQ(bad.num_started, 0);
  RunStepsUntilIdle(frontend);
  const auto rest = good.Rest();
  EXPECT_TRUE(rest.status.ok());
  EXPECT_EQ(rest.text, "aaa");
}

TEST(GrpcServerFaults, AMessageBeyondTheLimitIsRefused) {
  Frontend frontend({.answer = "ok"});
  v1::GenerateRequest request;
  request.set_text(std::string(65 << 20, 'a'));
  EXPECT_EQ(Stream(frontend, request).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Stream(frontend, ParseRequest("text: 'x'")).text, "ok");
}

TEST(GrpcServerFaults, CancellingAStreamFreesItsSlot) {
  Frontend frontend({.answer = "", .mode = kManual});
  OpenStream stream(frontend, ParseRequest("text: 'x'"));
  EXPECT_EQ(frontend.engine().Snapshot().num_running, 1u);
  stream.context().TryCancel();
  EXPECT_EQ(stream.Rest().status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(GrpcServerFaults, CancellingAWholeAnswerFreesItsSlot) {
  Frontend frontend({.answer = "", .mode = kManual});
  grpc::ClientContext context;
  grpc::Status status;
  std::thread caller([&] {
    v1::GenerateResponse response;
    status = frontend.inference().Generate(&context, ParseRequest("text: 'x'"), &response);
  });
  EXPECT_TRUE(frontend.WaitForRequests(1));
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(GrpcServerFaults, CancellingAForwardFreesItsSlots) {
  Frontend frontend({.answer = "", .mode = kManual});
  grpc::ClientContext context;
  grpc::Status status;
  std::thread caller([&] {
    v1::ForwardRequest request;
    for (int i = 0; i < 3; ++i) request.add_prompts()->add_ids(1);
    v1::ForwardResponse response;
    status = frontend.inference().Forward(&context, request, &response);
  });
  EXPECT_TRUE(frontend.WaitForRequests(3));
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(GrpcServerFaults, AForwardFailsWhenItsOnlyOrItsLastPromptDoes) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 1, .max_queued_requests = 1});
  OpenStream running(frontend, ParseRequest("text: 'x'"));
  grpc::Status status;
  std::thread waiting([&] { status = Forward(frontend, 1); });
  EXPECT_TRUE(frontend.WaitForRequests(2));
  for (const int num_prompts : {1, 2}) {
    const grpc::Status refused = Forward(frontend, num_prompts);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << num_prompts;
    EXPECT_TRUE(HasRetryInfo(refused)) << num_prompts;
  }
  frontend.pool().Fail(absl::UnavailableError("rank 1 was killed by signal 9"));
  waiting.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Forward(frontend, 1).error_code(), grpc::StatusCode::UNAVAILABLE);
  running.Rest();
}

TEST(GrpcServerFaults, TheClientsDeadlineFreesItsSlot) {
  Frontend frontend({.answer = "", .mode = kManual});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  v1::GenerateResponse response;
  const auto status = frontend.inference().Generate(&context, ParseRequest("text: 'x'"), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(GrpcServerFaults, AStepOfTheWallClockChangesNoDeadlineAndNoTiming) {
  for (const absl::Duration step : {absl::Hours(1), -absl::Hours(1)}) {
    Frontend frontend({.answer = "", .mode = kManual});
    OpenStream stream(frontend, ParseRequest("text: 'x' stopping { max_new_tokens: 3 }"),
                      std::chrono::minutes(10));
    testing::StepWallClock(step);
    RunStepsUntilIdle(frontend);
    const auto rest = stream.Rest();
    EXPECT_TRUE(rest.status.ok()) << rest.status.error_message();
    EXPECT_EQ(rest.finished.reason(), v1::LENGTH);
    EXPECT_GE(rest.finished.timing().total().seconds(), 0);
    EXPECT_LT(rest.finished.timing().total().seconds(), 600);
    testing::StepWallClock(-step);
  }
}

TEST(GrpcServerFaults, TheTimeLimitEndsAnAnswerWithWhatItHas) {
  Frontend frontend({.answer = "", .mode = kManual});
  grpc::ClientContext context;
  const auto reader = frontend.inference().GenerateStream(
      &context, ParseRequest("text: 'x' stopping { time_limit_ms: 300 }"));
  // On a busy machine the time is over before this step: then the answer has nothing.
  EXPECT_TRUE(frontend.pool().WaitAndRunStep());
  const auto answer = ReadStream(*reader);
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finished.reason(), v1::TIME_LIMIT);
  EXPECT_LE(answer.token_ids.size(), 1u);
  EXPECT_EQ(answer.finished.usage().completion_tokens(), answer.token_ids.size());
}

TEST(GrpcServerFaults, AbortEndsAStreamWithItsReason) {
  Frontend frontend({.answer = "", .mode = kManual});
  OpenStream stream(frontend, ParseRequest("text: 'x' request_id: 'mine'"));
  v1::AbortRequest abort;
  v1::AbortResponse response;
  abort.set_request_id("mine");
  grpc::ClientContext context;
  EXPECT_TRUE(frontend.admin().Abort(&context, abort, &response).ok());
  const auto rest = stream.Rest();
  EXPECT_TRUE(rest.status.ok());
  EXPECT_EQ(rest.finished.reason(), v1::ABORTED);
  grpc::ClientContext again;
  EXPECT_EQ(frontend.admin().Abort(&again, abort, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST(GrpcServerFaults, ARequestIdThatIsAliveIsRefusedAndFreeAfterItsEnd) {
  Frontend frontend({.answer = "", .mode = kManual});
  const auto request = ParseRequest("text: 'x' request_id: 'mine' stopping { max_new_tokens: 2 }");
  OpenStream stream(frontend, request);
  const auto second = Stream(frontend, request);
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(second.status), "request_id");
  RunStepsUntilIdle(frontend);
  EXPECT_TRUE(stream.Rest().status.ok());
  OpenStream third(frontend, request);
  RunStepsUntilIdle(frontend);
  EXPECT_TRUE(third.Rest().status.ok());
}

TEST(GrpcServerFaults, APoolThatFailsEndsEveryStreamWithUnavailableAtOnce) {
  Frontend frontend({.answer = "", .mode = kManual});
  OpenStream first(frontend, ParseRequest("text: 'x'"));
  frontend.pool().Fail(absl::UnavailableError("rank 1 was killed by signal 9"));
  const auto rest = first.Rest();
  EXPECT_EQ(rest.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(rest.status.error_message(), HasSubstr("rank 1"));
  EXPECT_TRUE(HasRetryInfo(rest.status));
  EXPECT_EQ(Stream(frontend, ParseRequest("text: 'x'")).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST(GrpcServerFaults, AFullQueueIsRefusedWithARetryDelay) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 1, .max_queued_requests = 1});
  OpenStream running(frontend, ParseRequest("text: 'x'"));
  grpc::ClientContext context;
  auto waiting = frontend.inference().GenerateStream(&context, ParseRequest("text: 'x'"));
  EXPECT_TRUE(frontend.WaitForRequests(2));
  const auto refused = Stream(frontend, ParseRequest("text: 'x'"));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(HasRetryInfo(refused.status));
  context.TryCancel();
  running.context().TryCancel();
  ReadStream(*waiting);
}

TEST(GrpcServerFaults, DrainLetsRunningStreamsEndAndTakesNoNewOnes) {
  Frontend frontend({.answer = "", .mode = kManual});
  frontend.server().SetServing(true);
  OpenStream stream(frontend, ParseRequest("text: 'x' stopping { max_new_tokens: 3 }"));
  v1::DrainResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(frontend.admin().Drain(&context, {}, &response).ok());
  EXPECT_EQ(response.num_requests(), 1u);
  EXPECT_EQ(Health(frontend, ""), 2);
  EXPECT_EQ(StateOf(frontend), v1::POOL_STATE_DRAINING);
  frontend.server().SetServing(true);
  EXPECT_EQ(Health(frontend, ""), 2);
  const auto refused = Stream(frontend, ParseRequest("text: 'x'"));
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(HasRetryInfo(refused.status));
  RunStepsUntilIdle(frontend);
  const auto rest = stream.Rest();
  EXPECT_TRUE(rest.status.ok());
  EXPECT_EQ(rest.text, "aa");
}

TEST(GrpcServerFaults, AServerThatItsProcessDrainsSaysSo) {
  Frontend frontend({.answer = "", .mode = kManual});
  EXPECT_NE(StateOf(frontend), v1::POOL_STATE_DRAINING);
  frontend.server().Drain();
  EXPECT_EQ(StateOf(frontend), v1::POOL_STATE_DRAINING);
}

TEST(GrpcServerFaults, ShutdownEndsWhatIsLeftAtTheDeadline) {
  Frontend frontend({.answer = "", .mode = kManual});
  OpenStream stream(frontend, ParseRequest("text: 'x'"));
  frontend.server().Shutdown(absl::Now() + absl::Milliseconds(50));
  EXPECT_FALSE(stream.Rest().status.ok());
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(GrpcServerFaults, ASlowReaderGetsSeveralTokensInOneDelta) {
  Frontend frontend({.answer = "", .max_model_len = 4096});
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  const auto stub = v1::Inference::NewStub(grpc::CreateCustomChannel(
      frontend.server().address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  auto reader =
      stub->GenerateStream(&context, ParseRequest("text: 'x' output { token_details: true }"));
  // The answer is complete before the client reads any of it.
  while (frontend.engine().Snapshot().generated_tokens < 4095) std::this_thread::yield();
  EXPECT_TRUE(frontend.WaitUntilIdle());
  const auto answer = ReadStream(*reader);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_TRUE(answer.in_order);
  EXPECT_EQ(answer.text, std::string(4095, 'a'));
  EXPECT_EQ(answer.token_ids.size(), 4095u);
  EXPECT_LT(answer.deltas.size(), 4095u);
}

TEST(GrpcServerFaults, ManyStreamsThatComeAndGoLeaveNothingBehind) {
  Frontend frontend({.answer = "some answer", .max_queued_requests = 1024});
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&frontend, c] {
      for (int i = 0; i < 40; ++i) {
        if ((c + i) % 2 == 0) {
          EXPECT_EQ(Stream(frontend, ParseRequest("text: 'x'")).text, "some answer");
          continue;
        }
        grpc::ClientContext context;
        auto reader = frontend.inference().GenerateStream(&context, ParseRequest("text: 'x'"));
        v1::GenerateStreamResponse response;
        for (int n = 0; n < i % 5; ++n) reader->Read(&response);
        context.TryCancel();
        ReadStream(*reader);
      }
    });
  }
  for (auto& client : clients) client.join();
  EXPECT_TRUE(frontend.WaitUntilIdle());
  EXPECT_TRUE(frontend.WaitUntilBlocksAreFree());
  EXPECT_TRUE(frontend.pool().violation().ok()) << frontend.pool().violation();
}

}  // namespace
}  // namespace lockstep::server
