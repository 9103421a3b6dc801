// How many bytes of requests are taken in at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/admission/field_error.h"
#include "server/rpc/forward_call.h"
#include "server/rpc/message_codec.h"
#include "tests/unit/server/rpc/end_receiver.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"
#include "tests/unit/server/rpc/test_context.h"

namespace lockstep::server {
namespace {

CallTimes Now() { return {.arrival = MonotonicNow()}; }

// Until this has gone, the threads that take in short requests, or those that compile guides, have
// no time for others.
class Obstacle {
 public:
  ~Obstacle() { gone_.set_value(); }
  std::shared_future<void> told() const { return told_; }

 private:
  std::promise<void> gone_;
  const std::shared_future<void> told_ = gone_.get_future().share();
};

std::unique_ptr<Obstacle> BlockIntake(TestContext& context) {
  auto obstacle = std::make_unique<Obstacle>();
  context->intake.For(1).Post([told = obstacle->told()] { told.wait(); });
  return obstacle;
}

bool BecomesFree(const ByteBudget& budget) {
  const absl::Time give_up = MonotonicNow() + absl::Seconds(60);
  while (budget.num_used() > 0 && MonotonicNow() < give_up) std::this_thread::yield();
  return budget.num_used() == 0;
}

TEST(RequestBytes, AGenerationWithoutRoomIsRefusedWithARetryDelay) {
  TestContext context;
  const grpc::ByteBuffer request = SerializeMessage(ParseRequest("text: 'x'"));
  ByteBudget::Lease all = context->request_bytes.Take(context->request_bytes.limit());
  EndReceiver receiver;
  std::make_shared<Generation>(*context, receiver, "Generate")->Start(request, Now());
  const absl::Status refused = receiver.WaitForEnd();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(refused.GetPayload(kRetryInfoUrl).has_value());
  EXPECT_EQ(context->request_bytes.num_used(), context->request_bytes.limit());
  all = nullptr;
  EndReceiver other;
  std::make_shared<Generation>(*context, other, "Generate")->Start(request, Now());
  const auto sinks = context.engine().TakeSinks(1);
  ASSERT_EQ(sinks.size(), 1u);
  sinks[0]->OnComplete({});
  EXPECT_TRUE(other.WaitForEnd().ok());
}

TEST(RequestBytes, AForwardCallWithoutRoomIsRefusedWithARetryDelay) {
  TestContext context;
  v1::ForwardRequest request;
  request.add_prompts()->add_ids(1);
  const ByteBudget::Lease all = context->request_bytes.Take(context->request_bytes.limit());
  std::promise<absl::Status> end;
  std::make_shared<ForwardBatch>(*context, [&end](const absl::Status& status, grpc::ByteBuffer) {
    end.set_value(status);
  })->Start(SerializeMessage(request), Now());
  const absl::Status refused = end.get_future().get();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(refused.GetPayload(kRetryInfoUrl).has_value());
}

TEST(RequestBytes, AreHeldWhileARequestWaitsForItsTurn) {
  TestContext context;
  auto obstacle = BlockIntake(context);
  const grpc::ByteBuffer request = SerializeMessage(ParseRequest("text: 'x'"));
  EndReceiver receiver;
  std::make_shared<Generation>(*context, receiver, "Generate")->Start(request, Now());
  EXPECT_EQ(context->request_bytes.num_used(), request.Length());
  obstacle = nullptr;
  const auto sinks = context.engine().TakeSinks(1);
  ASSERT_EQ(sinks.size(), 1u);
  EXPECT_TRUE(BecomesFree(context->request_bytes)) << "while the engine has the request";
  sinks[0]->OnComplete({});
  EXPECT_TRUE(receiver.WaitForEnd().ok());
}

TEST(RequestBytes, AreHeldWhileAGuideIsCompiled) {
  TestContext context;
  auto obstacle = std::make_unique<Obstacle>();
  for (const char* text : {"a", "b"}) {
    context->guides.Get(
        {.kind = GuideSpec::Kind::kRegex, .text = text},
        [told = obstacle->told()] {
          told.wait();
          return false;
        },
        [](auto) {});
  }
  const grpc::ByteBuffer request = SerializeMessage(ParseRequest("text: 'x' guide { regex: 'c' }"));
  EndReceiver receiver;
  std::make_shared<Generation>(*context, receiver, "Generate")->Start(request, Now());
  // There is one thread: what comes after the request has been opened.
  std::promise<void> opened;
  context->intake.For(1).Post([&opened] { opened.set_value(); });
  opened.get_future().wait();
  EXPECT_EQ(context->request_bytes.num_used(), request.Length());
  obstacle = nullptr;
  const auto sinks = context.engine().TakeSinks(1);
  ASSERT_EQ(sinks.size(), 1u);
  EXPECT_TRUE(BecomesFree(context->request_bytes));
  sinks[0]->OnComplete({});
  EXPECT_TRUE(receiver.WaitForEnd().ok());
}

// The status of each of Inference's calls, with a request of this many bytes that do not parse.
std::vector<grpc::Status> CallAll(Frontend& frontend, std::size_t num_bytes) {
  std::vector<grpc::Status> all;
  for (const char* method :
       {"Inference/Generate", "Inference/GenerateStream", "Inference/Forward", "Inference/Tokenize",
        "Inference/Detokenize", "Inference/GetModelInfo"}) {
    all.push_back(
        CallRaw(frontend, std::string("/lockstep.v1.") + method, std::string(num_bytes, '\xff')));
  }
  return all;
}

TEST(RequestBytes, NoMethodTakesMoreThanThereIsRoomFor) {
  // A guide that takes long to compile fills it.
  v1::GenerateRequest large = ParseRequest("text: 'x'");
  for (int i = 0; i < 4000; ++i) {
    large.mutable_guide()->mutable_choice()->add_choices(std::to_string(i * 7919) +
                                                         std::string(240, 'a' + i % 26));
  }
  Frontend frontend({.answer = "", .mode = kManual, .max_request_bytes = large.ByteSizeLong() + 9});
  grpc::ClientContext context;
  const auto stream = frontend.inference().GenerateStream(&context, large);
  while (frontend.server().num_open_calls() < 1) std::this_thread::yield();
  for (const grpc::Status& refused : CallAll(frontend, 10)) {
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_TRUE(HasRetryInfo(refused));
  }
  EXPECT_EQ(CallRaw(frontend, "/lockstep.v1.Admin/Abort", std::string(10, '\xff')).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT)
      << "it waits for no room that others take";
  // The one before may have been answered before its bytes are given back.
  for (const grpc::Status& taken : CallAll(frontend, 3)) {
    EXPECT_EQ(taken.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_TRUE(frontend.WaitForRequests(1));
  // The bytes are free soon after.
  const std::string ten(10, '\xff');
  while (CallRaw(frontend, "/lockstep.v1.Inference/Tokenize", ten).error_code() ==
         grpc::StatusCode::RESOURCE_EXHAUSTED) {
  }
  for (const grpc::Status& taken : CallAll(frontend, 10)) {
    EXPECT_EQ(taken.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  context.TryCancel();
  ReadStream(*stream);
}

}  // namespace
}  // namespace lockstep::server
