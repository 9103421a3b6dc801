// Prefix caching through real workers: what is found is not run again, and changes no token.
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/v1/inference.grpc.pb.h"
#include "tests/integration/real_server.h"
#include "tests/testing/server_process.h"

namespace lockstep {
namespace {

class PrefixCaching : public ::testing::Test {
 protected:
  void Start(int num_ranks, std::vector<std::string> more = {}) {
    server_ = StartServer(DemoModel(), num_ranks, std::move(more));
    ASSERT_NE(server_, nullptr);
    stub_ = v1::Inference::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  static v1::GenerateRequest MakeRequest(int num_prompt_tokens) {
    v1::GenerateRequest request;
    for (int i = 0; i < num_prompt_tokens; ++i) {
      request.mutable_token_ids()->add_ids(static_cast<uint32_t>(100 + i * 7 % 300));
    }
    request.mutable_sampling()->set_temperature(1);
    request.mutable_sampling()->set_seed(5);
    request.mutable_stopping()->set_max_new_tokens(24);
    request.mutable_stopping()->set_ignore_eos(true);
    return request;
  }

  v1::GeneratedSequence Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    v1::GenerateResponse response;
    const grpc::Status status = stub_->Generate(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.sequences_size() == 1 ? response.sequences(0) : v1::GeneratedSequence();
  }

  std::unique_ptr<testing::ServerProcess> server_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

class PrefixCacheTest : public PrefixCaching, public ::testing::WithParamInterface<int> {
 protected:
  void SetUp() override { Start(GetParam()); }
};

std::vector<uint32_t> Tokens(const v1::GeneratedSequence& sequence) {
  return {sequence.token_ids().begin(), sequence.token_ids().end()};
}

TEST_P(PrefixCacheTest, AnAnswerFromCachedBlocksIsTheSame) {
  const v1::GenerateRequest request = MakeRequest(70);
  const v1::GeneratedSequence first = Generate(request);
  const v1::GeneratedSequence second = Generate(request);
  ASSERT_EQ(first.token_ids_size(), 24);
  EXPECT_EQ(first.finished().usage().cached_tokens(), 0);
  EXPECT_EQ(second.finished().usage().cached_tokens(), 64);
  EXPECT_EQ(Tokens(second), Tokens(first));
}

TEST_P(PrefixCacheTest, TheTurnThatFollowsFindsPromptAndAnswer) {
  v1::GenerateRequest request = MakeRequest(40);
  const v1::GeneratedSequence first = Generate(request);
  for (uint32_t id : first.token_ids()) request.mutable_token_ids()->add_ids(id);
  request.mutable_token_ids()->add_ids(77);
  const v1::GeneratedSequence cached = Generate(request);
  // 63 of the first turn's positions were run: three blocks of 16 are full.
  EXPECT_EQ(cached.finished().usage().cached_tokens(), 48);
  request.mutable_cache()->set_bypass(true);
  const v1::GeneratedSequence alone = Generate(request);
  EXPECT_EQ(alone.finished().usage().cached_tokens(), 0);
  EXPECT_EQ(Tokens(cached), Tokens(alone));
}

TEST_P(PrefixCacheTest, AnotherSaltFindsNothing) {
  v1::GenerateRequest request = MakeRequest(40);
  Generate(request);
  request.mutable_cache()->set_salt("another tenant");
  EXPECT_EQ(Generate(request).finished().usage().cached_tokens(), 0);
  EXPECT_EQ(Generate(request).finished().usage().cached_tokens(), 32);
}

TEST_F(PrefixCaching, CanBeTurnedOff) {
  Start(1, {"--enable-prefix-caching", "false"});
  const v1::GenerateRequest request = MakeRequest(40);
  const v1::GeneratedSequence first = Generate(request);
  const v1::GeneratedSequence second = Generate(request);
  ASSERT_EQ(first.token_ids_size(), 24);
  EXPECT_EQ(second.finished().usage().cached_tokens(), 0);
  EXPECT_EQ(Tokens(second), Tokens(first));
}

INSTANTIATE_TEST_SUITE_P(NumRanks, PrefixCacheTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace lockstep
