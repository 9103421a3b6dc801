#include "server/rpc/grpc_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/testing/fake_model.h"
#include "tests/unit/server/rpc/grpc_server_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

TEST(GrpcServer, StreamsStartedThenDeltasThenFinished) {
  Frontend frontend({.answer = "héllo €"});
  const auto answer = Stream(frontend, ParseRequest("text: 'ab' request_id: 'mine'"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_TRUE(answer.in_order);
  EXPECT_EQ(answer.num_started, 1);
  EXPECT_EQ(answer.num_finished, 1);
  EXPECT_EQ(answer.started.request_id(), "mine");
  EXPECT_EQ(answer.started.num_prompt_tokens(), 2u);
  EXPECT_EQ(answer.text, "héllo €");
  auto tokens = frontend.Tokens("héllo €");
  tokens.push_back(kByteEos);
  EXPECT_EQ(answer.token_ids, tokens);
  EXPECT_EQ(answer.finished.reason(), v1::EOS);
  EXPECT_EQ(answer.finished.stop_token_id(), static_cast<uint32_t>(kByteEos));
  EXPECT_EQ(answer.finished.usage().prompt_tokens(), 2u);
  EXPECT_EQ(answer.finished.usage().completion_tokens(), tokens.size());
  EXPECT_TRUE(answer.finished.has_seed());
  EXPECT_TRUE(answer.finished.timing().has_queue() && answer.finished.timing().has_prefill() &&
              answer.finished.timing().has_decode() && answer.finished.timing().has_total());
}

TEST(GrpcServer, GivesTheWholeAnswerAtOnce) {
  Frontend frontend({.answer = "hello"});
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const auto status = frontend.inference().Generate(
      &context, ParseRequest("text: 'ab' sampling { seed: 5 }"), &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(response.request_id().empty());
  EXPECT_EQ(response.num_prompt_tokens(), 2u);
  ASSERT_EQ(response.sequences_size(), 1);
  EXPECT_EQ(response.sequences(0).text(), "hello");
  EXPECT_EQ(response.sequences(0).token_ids_size(), 6);
  EXPECT_EQ(response.sequences(0).finished().reason(), v1::EOS);
  EXPECT_EQ(response.sequences(0).finished().seed(), 5u);
}

TEST(GrpcServer, EndsAtAStopStringAndFreesTheSlot) {
  Frontend frontend({.answer = "one END two"});
  const auto answer = Stream(frontend, ParseRequest("text: 'x' stopping { stop_strings: 'END' }"));
  EXPECT_EQ(answer.text, "one ");
  EXPECT_EQ(answer.finished.reason(), v1::STOP_STRING);
  EXPECT_EQ(answer.finished.stop_string(), "END");
  EXPECT_EQ(answer.finished.usage().completion_tokens(), 7u);
  EXPECT_EQ(answer.token_ids.size(), 7u);
  EXPECT_TRUE(frontend.WaitUntilIdle());
}

TEST(GrpcServer, AStopStringAtTheLastTokenWinsOverLength) {
  Frontend frontend({.answer = "abc"});
  const auto answer =
      Stream(frontend, ParseRequest("text: 'x' stopping { stop_strings: 'c' max_new_tokens: 3 }"));
  EXPECT_EQ(answer.text, "ab");
  EXPECT_EQ(answer.finished.reason(), v1::STOP_STRING);
}

// The model here pays no heed to min_new_tokens.
TEST(GrpcServer, AStopTokenThatComesTooEarlyToEndTheAnswerIsText) {
  Frontend frontend({.answer = "abbc"});
  auto request = ParseRequest("text: 'x' stopping { min_new_tokens: 2 }");
  request.mutable_stopping()->add_stop_token_ids(static_cast<uint32_t>(frontend.Tokens("b")[0]));
  const auto answer = Stream(frontend, request);
  EXPECT_EQ(answer.text, "ab");
  EXPECT_EQ(answer.token_ids, frontend.Tokens("abb"));
  EXPECT_EQ(answer.finished.reason(), v1::STOP_TOKEN);
}

TEST(GrpcServer, GivesHeldBackTextWhenTheAnswerEndsOtherwise) {
  Frontend frontend({.answer = "abEN"});
  const auto answer = Stream(
      frontend, ParseRequest("text: 'x' stopping { stop_strings: 'END' max_new_tokens: 4 }"));
  EXPECT_EQ(answer.text, "abEN");
  EXPECT_EQ(answer.finished.reason(), v1::LENGTH);
}

TEST(GrpcServer, EndsAtStopTokensAndAtTheContextsEnd) {
  Frontend frontend({.answer = "", .max_model_len = 32});
  const auto at_length = Stream(frontend, ParseRequest("text: 'x'"));
  EXPECT_EQ(at_length.finished.reason(), v1::LENGTH);
  EXPECT_EQ(at_length.text, std::string(31, 'a'));
  auto request = ParseRequest("text: 'x'");
  request.mutable_stopping()->add_stop_token_ids(static_cast<uint32_t>(frontend.Tokens("a")[0]));
  const auto at_token = Stream(frontend, request);
  EXPECT_EQ(at_token.finished.reason(), v1::STOP_TOKEN);
  EXPECT_EQ(at_token.text, "");
  EXPECT_EQ(at_token.token_ids.size(), 1u);
}

TEST(GrpcServer, EchoesThePromptAndReportsTokenDetails) {
  Frontend frontend({.answer = "é"});
  const auto answer =
      Stream(frontend, ParseRequest("text: 'x' output { echo: true token_details: true }"));
  EXPECT_EQ(answer.text, "xé");
  ASSERT_EQ(answer.started.prompt_tokens_size(), 1);
  EXPECT_EQ(answer.started.prompt_tokens(0).bytes(), "x");
  std::string bytes;
  for (const auto& delta : answer.deltas) {
    for (const auto& token : delta.tokens()) {
      if (token.id() != static_cast<uint32_t>(kByteEos)) bytes += token.bytes();
    }
  }
  EXPECT_EQ(bytes, "é");
}

TEST(GrpcServer, ForwardGivesTheLogitsOfEveryPromptInOrder) {
  Frontend frontend({.answer = "a"});
  v1::ForwardRequest request;
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}, {4}, {5, 6}};
  for (const auto& prompt : prompts) {
    auto& ids = *request.add_prompts()->mutable_ids();
    ids.Add(prompt.begin(), prompt.end());
  }
  for (const bool all_positions : {false, true}) {
    request.set_all_positions(all_positions);
    grpc::ClientContext context;
    v1::ForwardResponse response;
    const auto status = frontend.inference().Forward(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(response.outputs_size(), 3);
    for (int p = 0; p < 3; ++p) {
      const auto& output = response.outputs(p);
      const std::size_t num_rows = all_positions ? prompts[p].size() : 1;
      ASSERT_EQ(output.shape_size(), 2);
      EXPECT_EQ(output.shape(0), static_cast<int64_t>(num_rows));
      EXPECT_EQ(output.shape(1), kByteVocabSize);
      std::vector<float> expected;
      for (std::size_t end = prompts[p].size() + 1 - num_rows; end <= prompts[p].size(); ++end) {
        const auto row =
            testing::FakeLogits(absl::MakeConstSpan(prompts[p]).first(end), kByteVocabSize);
        expected.insert(expected.end(), row.begin(), row.end());
      }
      ASSERT_EQ(output.logits().size(), expected.size() * sizeof(float));
      EXPECT_EQ(std::memcmp(output.logits().data(), expected.data(), output.logits().size()), 0);
    }
    // The fake pool's step takes 1 ms, and all prompts fit one.
    EXPECT_EQ(response.duration().nanos(), 1'000'000);
  }
}

TEST(GrpcServer, ForwardCollectsAPromptThatTakesSeveralSteps) {
  Frontend frontend({.answer = "a", .max_num_batched_tokens = 16});
  v1::ForwardRequest request;
  request.set_all_positions(true);
  for (int i = 0; i < 50; ++i) {
    if (i == 0) request.add_prompts();
    request.mutable_prompts(0)->add_ids(static_cast<uint32_t>(i));
  }
  grpc::ClientContext context;
  v1::ForwardResponse response;
  const auto status = frontend.inference().Forward(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.outputs(0).shape(0), 50);
  EXPECT_EQ(response.outputs(0).logits().size(), 50u * kByteVocabSize * sizeof(float));
  EXPECT_EQ(response.duration().nanos(), 4'000'000);
}

TEST(GrpcServer, TokenizesAndDetokenizes) {
  Frontend frontend({.answer = "a"});
  v1::TokenizeRequest tokenize;
  tokenize.set_text("aé");
  v1::TokenizeResponse tokens;
  grpc::ClientContext first;
  ASSERT_TRUE(frontend.inference().Tokenize(&first, tokenize, &tokens).ok());
  EXPECT_EQ(tokens.token_ids_size(), 3);
  EXPECT_EQ(tokens.text(), "aé");
  EXPECT_EQ(tokens.tokens(1).bytes(), "\xC3");

  v1::DetokenizeRequest detokenize;
  *detokenize.mutable_token_ids()->mutable_ids() = tokens.token_ids();
  detokenize.mutable_token_ids()->mutable_ids()->RemoveLast();
  v1::DetokenizeResponse text;
  grpc::ClientContext second;
  ASSERT_TRUE(frontend.inference().Detokenize(&second, detokenize, &text).ok());
  EXPECT_EQ(text.bytes(), "a\xC3");
  EXPECT_EQ(text.text(), "a\xEF\xBF\xBD");
}

TEST(GrpcServer, TokenizeShowsTheChatAsTheModelSeesIt) {
  Frontend frontend({.answer = "a"});
  v1::TokenizeRequest request;
  auto& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("hi");
  v1::TokenizeResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(frontend.inference().Tokenize(&context, request, &response).ok());
  EXPECT_EQ(response.text(), "user: hi\nassistant:");
}

TEST(GrpcServer, DescribesTheModel) {
  Frontend frontend({.answer = "a"});
  v1::GetModelInfoResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(frontend.inference().GetModelInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.model(), "bytes");
  EXPECT_EQ(info.architecture(), "LlamaForCausalLM");
  EXPECT_EQ(info.dtype(), "float32");
  EXPECT_EQ(info.vocab_size(), static_cast<uint32_t>(kByteVocabSize));
  EXPECT_EQ(info.max_model_len(), 2048u);
  EXPECT_EQ(info.num_kv_blocks(), 4096u);
  EXPECT_TRUE(info.has_chat_template());
  ASSERT_EQ(info.eos_token_ids_size(), 1);
  EXPECT_EQ(info.eos_token_ids(0), static_cast<uint32_t>(kByteEos));
  // Embedding and head, two layers of q, k, v, o, gate, up, down and two norms, the last norm.
  EXPECT_EQ(info.num_parameters(),
            2u * 300 * 64 + 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128 + 128) + 64);
}

TEST(GrpcServer, DescribesTheServer) {
  Frontend frontend({.answer = "ab"});
  Stream(frontend, ParseRequest("text: 'xyz'"));
  v1::GetServerInfoResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(frontend.admin().GetServerInfo(&context, {}, &info).ok());
  EXPECT_FALSE(info.version().empty());
  EXPECT_EQ(info.state(), v1::POOL_STATE_READY);
  EXPECT_EQ(info.ranks_size(), 1);
  EXPECT_EQ(info.prompt_tokens(), 3u);
  EXPECT_EQ(info.generated_tokens(), 3u);
}

TEST(GrpcServer, SaysHowMuchWaits) {
  Frontend frontend({.answer = "", .mode = kManual, .max_num_seqs = 1});
  grpc::ClientContext first, second, admin;
  const auto running = frontend.inference().GenerateStream(&first, ParseRequest("text: 'vwxyz'"));
  const auto waiting = frontend.inference().GenerateStream(&second, ParseRequest("text: 'vwxyz'"));
  ASSERT_TRUE(frontend.WaitForRequests(2));
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(frontend.admin().GetServerInfo(&admin, {}, &info).ok());
  EXPECT_EQ(info.num_running(), 1U);
  EXPECT_EQ(info.num_waiting(), 1U);
  EXPECT_EQ(info.num_waiting_tokens(), 5U);
  first.TryCancel();
  second.TryCancel();
  running->Finish();
  waiting->Finish();
}

TEST(GrpcServer, IsNotServingUntilToldSo) {
  Frontend frontend({.answer = "a"});
  EXPECT_EQ(Health(frontend, ""), 2);
  EXPECT_EQ(Health(frontend, "lockstep.v1.Inference"), 2);
  EXPECT_FALSE(frontend.server().serving());
  frontend.server().SetServing(true);
  EXPECT_EQ(Health(frontend, ""), 1);
  EXPECT_EQ(Health(frontend, "lockstep.v1.Inference"), 1);
  EXPECT_TRUE(frontend.server().serving());
}

TEST(GrpcServer, AListeningAddressThatIsTakenIsAnErrorThatNamesIt) {
  Frontend frontend({.answer = "a"});
  ServerOptions options;
  options.listen = frontend.server().address();
  const ServedModel model{"bytes", kByteVocabSize, 64, {}};
  const worker::LlamaConfig config;
  const auto second = GrpcServer::Start(
      options,
      {frontend.engine(), frontend.pool(), frontend.text(), model, config, frontend.counter()},
      "float32");
  ASSERT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(options.listen));
}

}  // namespace
}  // namespace lockstep::server
