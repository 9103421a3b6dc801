// How requests ended: the counters say what the clients were told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <ostream>
#include <string>
#include <thread>

#include "process/monotonic_time.h"
#include "server/rpc/forward_call.h"
#include "server/rpc/generation.h"
#include "server/rpc/message_codec.h"
#include "tests/unit/server/rpc/end_receiver.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"
#include "tests/unit/server/rpc/test_context.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

Completion EndOf(v1::FinishReason reason, absl::Status status = absl::OkStatus()) {
  Completion completion;
  completion.reason = reason;
  completion.status = std::move(status);
  return completion;
}

// The end that the engine comes to by itself, before it hears of the stop string.
struct EngineEnd {
  const char* name;
  Completion completion;
};
void PrintTo(const EngineEnd& end, std::ostream* out) { *out << end.name; }

class EndAfterAStopString : public ::testing::TestWithParam<EngineEnd> {};

TEST_P(EndAfterAStopString, CountsAsTheStopStringThatTheClientIsTold) {
  TestContext context;
  EndReceiver receiver;
  const auto generation = std::make_shared<Generation>(*context, receiver, "Generate");
  generation->Start(SerializeMessage(ParseRequest("text: 'x' stopping { stop_strings: '.' }")),
                    {.arrival = MonotonicNow()});
  const std::shared_ptr<OutputSink> sink = context.engine().TakeSinks(1)[0];
  sink->OnScheduled(0);
  TokenEvent event;
  event.token.set_token_id(static_cast<uint32_t>(BytesAsTokens(context.text(), ".")[0]));
  sink->OnToken(event);
  sink->OnComplete(GetParam().completion);
  EXPECT_TRUE(receiver.WaitForEnd().ok()) << receiver.WaitForEnd();
  EXPECT_EQ(receiver.finished().reason(), v1::STOP_STRING);
  EXPECT_THAT(context.counter().successes(), ElementsAre(Pair(v1::STOP_STRING, 1)));
  EXPECT_THAT(context.counter().failures(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(
    Ends, EndAfterAStopString,
    ::testing::Values(EngineEnd{"eos", EndOf(v1::EOS)}, EngineEnd{"length", EndOf(v1::LENGTH)},
                      EngineEnd{"time limit", EndOf(v1::TIME_LIMIT)},
                      EngineEnd{"pool failed", EndOf(v1::FINISH_REASON_UNSPECIFIED,
                                                     absl::UnavailableError("it has failed"))}));

TEST(RequestCounts, EachSequenceCounts) {
  Frontend frontend({.answer = "ab"});
  EXPECT_TRUE(Stream(frontend, ParseRequest("text: 'x' num_sequences: 3")).status.ok());
  EXPECT_THAT(frontend.counter().successes(), ElementsAre(Pair(v1::EOS, 3)));
  EXPECT_THAT(frontend.counter().failures(), IsEmpty());
}

TEST(RequestCounts, WhatIsRefusedCountsOnceWhereverItIsRefused) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 1, .max_queued_requests = 1});
  // By the parser, by what was asked for, by the encoder, by the guide's compiler.
  EXPECT_FALSE(CallRaw(frontend, "/lockstep.v1.Inference/Generate", "\xff").ok());
  EXPECT_FALSE(Stream(frontend, ParseRequest("text: 'x' num_sequences: 100000")).status.ok());
  EXPECT_FALSE(Stream(frontend, ParseRequest("text: 'x' model: 'y'")).status.ok());
  EXPECT_FALSE(Stream(frontend, ParseRequest("text: ''")).status.ok());
  EXPECT_FALSE(Stream(frontend, ParseRequest("text: 'x' guide { regex: '(' }")).status.ok());
  EXPECT_THAT(frontend.counter().failures(),
              ElementsAre(Pair(absl::StatusCode::kInvalidArgument, 4),
                          Pair(absl::StatusCode::kNotFound, 1)));
  // By the engine, where it has no room.
  grpc::ClientContext contexts[2];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::GenerateStreamResponse>>> streams;
  for (grpc::ClientContext& context : contexts) {
    streams.push_back(frontend.inference().GenerateStream(&context, ParseRequest("text: 'x'")));
    EXPECT_TRUE(frontend.WaitForRequests(streams.size()));
  }
  EXPECT_FALSE(Stream(frontend, ParseRequest("text: 'x'")).status.ok());
  EXPECT_EQ(frontend.counter().failures()[absl::StatusCode::kResourceExhausted], 1);
  EXPECT_THAT(frontend.counter().successes(), IsEmpty());
  for (grpc::ClientContext& context : contexts) context.TryCancel();
  for (auto& stream : streams) ReadStream(*stream);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(RequestCounts, AClientThatGoesBeforeTheEngineHasItsRequestCounts) {
  TestContext context;
  EndReceiver receiver;
  const auto generation = std::make_shared<Generation>(*context, receiver, "Generate");
  // Nothing is taken in meanwhile.
  std::promise<void> gone;
  context->intake.For(1).Post([told = gone.get_future()] { told.wait(); });
  generation->Start(SerializeMessage(ParseRequest("text: 'x'")), {.arrival = MonotonicNow()});
  generation->Cancel();
  EXPECT_EQ(receiver.WaitForEnd().code(), absl::StatusCode::kCancelled);
  gone.set_value();
  EXPECT_THAT(context.counter().failures(), ElementsAre(Pair(absl::StatusCode::kCancelled, 1)));
}

v1::ForwardRequest ForwardOf(int num_prompts) {
  v1::ForwardRequest request;
  for (int i = 0; i < num_prompts; ++i) request.add_prompts()->add_ids(1);
  return request;
}

TEST(RequestCounts, AForwardCallCountsOnceHoweverManyPromptsItHas) {
  Frontend frontend({.answer = ""});
  grpc::ClientContext context;
  v1::ForwardResponse response;
  EXPECT_TRUE(frontend.inference().Forward(&context, ForwardOf(3), &response).ok());
  EXPECT_THAT(frontend.counter().successes(), ElementsAre(Pair(v1::LENGTH, 1)));
}

TEST(RequestCounts, PromptsThatEndWithAnotherHaveItsStatus) {
  TestContext context;
  std::promise<absl::Status> end;
  const auto batch = std::make_shared<ForwardBatch>(
      *context, [&end](const absl::Status& status, grpc::ByteBuffer) { end.set_value(status); });
  batch->Start(SerializeMessage(ForwardOf(3)), {.arrival = MonotonicNow()});
  const auto sinks = context.engine().TakeSinks(3);
  ASSERT_EQ(sinks.size(), 3u);
  const absl::Status failure = absl::DeadlineExceededError("of one prompt");
  for (const auto& sink : sinks) sink->OnComplete(EndOf(v1::FINISH_REASON_UNSPECIFIED, failure));
  EXPECT_EQ(end.get_future().get(), failure);
  EXPECT_THAT(context.engine().finished(), ::testing::Each(failure));
  EXPECT_THAT(context.counter().failures(),
              ElementsAre(Pair(absl::StatusCode::kDeadlineExceeded, 1)));
}

TEST(RequestCounts, AForwardCallWhosePromptsFailCountsOnceByWhatItsClientIsTold) {
  Frontend frontend({.answer = "", .mode = kManual});
  grpc::Status status;
  std::thread caller([&] {
    grpc::ClientContext context;
    v1::ForwardResponse response;
    status = frontend.inference().Forward(&context, ForwardOf(3), &response);
  });
  EXPECT_TRUE(frontend.WaitForRequests(3));
  frontend.pool().Fail(absl::UnavailableError("rank 1 was killed by signal 9"));
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(frontend.counter().failures(), ElementsAre(Pair(absl::StatusCode::kUnavailable, 1)));
  EXPECT_THAT(frontend.counter().successes(), IsEmpty());
}

}  // namespace
}  // namespace lockstep::server
