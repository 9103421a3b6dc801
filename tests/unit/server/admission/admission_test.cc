#include "server/admission/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/admission/limits.h"
#include "server/admission/parameters.h"
#include "server/admission/prompt_encoder.h"
#include "tests/unit/server/admission/admission_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(AdmissionTest, FillsTheEngineRequestWithDefaults) {
  model_.defaults = {0.5F, 40, 0.9F, 0.1F, 0.7F, 1.2F, {kByteEos}, {}};
  const auto admitted = Admit("text: 'hello'");
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  const EngineRequest& request = *admitted->requests[0];
  EXPECT_EQ(request.id, lease_.id());
  EXPECT_EQ(request.prompt, BytesAsTokens(*text_, "hello"));
  EXPECT_FLOAT_EQ(request.sampling.temperature(), 0.5);
  EXPECT_EQ(request.sampling.top_k(), 40u);
  EXPECT_FLOAT_EQ(request.sampling.top_p(), 0.9);
  EXPECT_FLOAT_EQ(request.sampling.min_p(), 0.1);
  EXPECT_EQ(request.sampling.num_prompt_tokens(), 5u);
  EXPECT_EQ(request.sampling.num_logprobs(), -1);
  EXPECT_THAT(request.sampling.end_token_ids(), ElementsAre(kByteEos));
  EXPECT_THAT(request.eos_token_ids, ElementsAre(kByteEos));
  EXPECT_EQ(request.max_new_tokens, 59);
  EXPECT_EQ(request.deadline, times_.deadline);
  EXPECT_EQ(request.arrival, times_.arrival);
  EXPECT_TRUE(admitted->answer.skip_special_tokens);
}

TEST_F(AdmissionTest, WhatTheRequestSaysWinsOverDefaultsAlsoWhereItIsZero) {
  model_.defaults = {0.5F, 40, 0.9F, 0.1F, 0.7F, 1.2F, {kByteEos}, {}};
  const auto admitted = Admit(R"(token_ids { ids: [1, 2] } request_id: 'r' priority: -3
      sampling { temperature: 0 top_k: 0 top_p: 1 min_p: 0 seed: 0 }
      stopping { max_new_tokens: 9 min_new_tokens: 4 stop_token_ids: [7] stop_strings: 'x' ignore_eos: true
                 include_stop_string: true time_limit_ms: 250 }
      output { logprobs: 0 token_details: true skip_special_tokens: false echo: true })");
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  const EngineRequest& request = *admitted->requests[0];
  EXPECT_EQ(request.id, "r");
  EXPECT_EQ(request.priority, -3);
  EXPECT_EQ(request.sampling.temperature(), 0);
  EXPECT_EQ(request.sampling.top_k(), 0u);
  EXPECT_EQ(request.sampling.top_p(), 1);
  EXPECT_EQ(request.sampling.seed(), 0u);
  EXPECT_EQ(request.sampling.num_logprobs(), 0);
  EXPECT_EQ(request.max_new_tokens, 9);
  EXPECT_EQ(request.min_new_tokens, 4);
  EXPECT_EQ(request.sampling.min_new_tokens(), 4u);
  EXPECT_THAT(request.eos_token_ids, IsEmpty());
  EXPECT_THAT(request.stop_token_ids, ElementsAre(7));
  EXPECT_THAT(admitted->answer.stop_strings, ElementsAre("x"));
  EXPECT_TRUE(admitted->answer.include_stop_string && admitted->answer.token_details &&
              admitted->answer.logprobs && admitted->answer.echo);
  EXPECT_FALSE(admitted->answer.skip_special_tokens);
}

TEST_F(AdmissionTest, DrawsAnotherSeedForEachRequestWithoutOne) {
  const auto first = Admit("text: 'a'");
  const auto second = Admit("text: 'a'");
  EXPECT_NE(first->requests[0]->sampling.seed(), second->requests[0]->sampling.seed());
}

TEST_F(AdmissionTest, CutsMaxNewTokensToWhatTheContextLeaves) {
  EXPECT_EQ(
      Admit("text: 'abcd' stopping { max_new_tokens: 4294967295 }")->requests[0]->max_new_tokens,
      60);
}

TEST_F(AdmissionTest, TakesTheServedNameAndNoOther) {
  EXPECT_TRUE(Admit("text: 'a' model: 'bytes'").ok());
  EXPECT_TRUE(Admit("text: 'a' model: ''").ok());
  const absl::Status status = Admit("text: 'a' model: 'other'").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("\"bytes\""));
}

TEST_F(AdmissionTest, RefusesBadPrompts) {
  ExpectInvalid("", "prompt");
  ExpectInvalid("text: ''", "text");
  ExpectInvalid("token_ids {}", "token_ids.ids");
  ExpectInvalid("token_ids { ids: [1, 299, 300] }", "token_ids.ids[2]");
  ExpectInvalid("token_ids { ids: [4294967295] }", "token_ids.ids[0]");
  ExpectInvalid("text: '" + std::string(64, 'a') + "'", "text");
  EXPECT_TRUE(Admit("text: '" + std::string(63, 'a') + "'").ok());
}

TEST_F(AdmissionTest, RefusesAHugeTextWithoutTokenizingIt) {
  v1::GenerateRequest request;
  request.set_text(std::string(60 << 20, 'a'));
  const absl::Time start = absl::Now();
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "text");
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  EXPECT_THAT(std::string(Admit(request).status().message()), HasSubstr("bytes"));
}

TEST_F(AdmissionTest, PromptsThatAreTooLongByTheirSizeAreNotOpened) {
  v1::GenerateRequest request;
  request.mutable_guide()->set_regex("what would take long to compile");
  request.set_text(std::string(limits::kMinTextBytes + 1, 'a'));
  EXPECT_EQ(FieldOf(admission_.Open(request, [] {}).status()), "text");
  for (std::size_t i = 0; i <= limits::kMinTextBytes + limits::kTokensBesideText; ++i)
    request.mutable_token_ids()->add_ids(1);
  EXPECT_EQ(FieldOf(admission_.Open(request, [] {}).status()), "token_ids.ids");
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_content(std::string(limits::kMinTextBytes + 1, 'a'));
  EXPECT_EQ(FieldOf(admission_.Open(request, [] {}).status()), "chat");
}

TEST_F(AdmissionTest, TakesAsManyTokenIdsAsTheLongestTextGivesAndNotMany) {
  const PromptEncoder encoder(model_, *text_);
  const std::string longest(limits::kMinTextBytes, 'a');
  const auto encoded = encoder.EncodeText(longest, /*add_special_tokens=*/true);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  v1::TokenIds ids;
  for (int32_t id : encoded->token_ids) ids.add_ids(static_cast<uint32_t>(id));
  EXPECT_TRUE(encoder.EncodeIds(ids, "token_ids").ok());
  for (std::size_t i = 0; i <= limits::kTokensBesideText; ++i) ids.add_ids(1);
  const absl::Status status = encoder.EncodeIds(ids, "token_ids").status();
  EXPECT_EQ(FieldOf(status), "token_ids.ids");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("has ", ids.ids_size(), " token ids; at most ",
                                     limits::kMinTextBytes + limits::kTokensBesideText)));
}

TEST_F(AdmissionTest, RefusesBadChats) {
  ExpectInvalid("chat {}", "chat.messages");
  ExpectInvalid("chat { messages { content: 'a' } }", "chat.messages[0].role");
  ExpectInvalid("chat { messages { role: 'user' content: 'a' } messages { role: 'user' } }",
                "chat.messages[1].content");
  v1::GenerateRequest many;
  for (std::size_t i = 0; i <= limits::kChatMessages; ++i) {
    auto& message = *many.mutable_chat()->add_messages();
    message.set_role("user");
    message.set_content("");
  }
  ExpectRefused(many, absl::StatusCode::kInvalidArgument, "chat.messages");
  v1::GenerateRequest nan;
  *nan.mutable_chat() = Parse<v1::Chat>("messages { role: 'user' content: 'a' }");
  (*nan.mutable_chat()->mutable_template_variables()->mutable_fields())["x"].set_number_value(NAN);
  ExpectRefused(nan, absl::StatusCode::kInvalidArgument, "chat.template_variables");
}

TEST_F(AdmissionTest, AppliesTheChatTemplate) {
  const auto admitted = Admit("chat { messages { role: 'user' content: 'hi' } }");
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  ASSERT_TRUE(admitted->prompt_text.has_value());
  EXPECT_THAT(*admitted->prompt_text, HasSubstr("hi"));
}

// A chat's prompt is what its template makes of `tool` alone.
class ToolTemplateTest : public AdmissionTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(testing::WritePlaceholderTokenizer(directory_.path(), kByteModelConfig).ok());
    directory_.Write("chat_template.jinja", "{{ tool | tojson }}");
    auto text = TextModel::Load(directory_.path());
    ASSERT_TRUE(text.ok()) << text.status();
    tool_text_ = *std::move(text);
  }
  std::string PromptOf(const v1::Chat& chat) const {
    const auto prompt = PromptEncoder(model_, *tool_text_).EncodeChat(chat);
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    return prompt.ok() ? *prompt->text : "";
  }

  TemporaryDirectory directory_;
  std::unique_ptr<TextModel> tool_text_;
  v1::Chat chat_ = Parse<v1::Chat>("messages { role: 'user' content: 'a' }");
};

TEST_F(ToolTemplateTest, VariablesComeInTheOrderOfToolsEveryTime) {
  for (int i = 0; i < 20; ++i) {
    v1::Chat chat = chat_;
    auto& tool = (*chat.mutable_template_variables()->mutable_fields())["tool"];
    for (const char* key : {"required", "name", "b", "type", "a", "description", "parameters"}) {
      (*tool.mutable_struct_value()->mutable_fields())[key].set_number_value(1.5);
    }
    EXPECT_EQ(PromptOf(chat),
              R"({"type": 1.5, "name": 1.5, "description": 1.5, "parameters": 1.5, )"
              R"("a": 1.5, "b": 1.5, "required": 1.5})");
  }
}

TEST_F(ToolTemplateTest, AsManyVariablesAsFitCostNoMoreThanTheirSize) {
  model_.max_model_len = 1 << 16;
  auto& tool =
      *(*chat_.mutable_template_variables()->mutable_fields())["tool"].mutable_struct_value();
  for (int i = 0; i < 100000; ++i) {
    (*tool.mutable_fields())[absl::StrCat("key", i)].set_bool_value(true);
  }
  const absl::Time start = absl::Now();
  const std::string prompt = PromptOf(chat_);
  // A look-up per key in a list of keys would take a minute.
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), ':'), 100000);
}

TEST_F(ToolTemplateTest, VariablesAsJsonKeepTheirOrderAndTheFormOfNumbers) {
  const std::string tool =
      R"({"name": "f", "b": {"z": 1.0, "y": -0.0}, "a": [1, 2.50], "type": "t"})";
  chat_.set_template_variables_json(R"({"tool": )" + tool + "}");
  EXPECT_EQ(PromptOf(chat_),
            R"({"name": "f", "b": {"z": 1.0, "y": -0.0}, "a": [1, 2.5], "type": "t"})");
}

TEST_F(ToolTemplateTest, VariablesAsJsonThatAreNoneAreRefused) {
  const PromptEncoder encoder(model_, *tool_text_);
  for (const char* json : {"", "{", "[1]", "null", "{} {}", "{\"a\": 1e999}"}) {
    chat_.set_template_variables_json(json);
    EXPECT_EQ(FieldOf(encoder.EncodeChat(chat_).status()), "chat.template_variables_json") << json;
  }
  chat_.set_template_variables_json("{}");
  chat_.mutable_template_variables();
  EXPECT_EQ(FieldOf(encoder.EncodeChat(chat_).status()), "chat.template_variables_json");
}

TEST_F(AdmissionTest, RefusesAChatWhereTheCheckpointHasNoTemplate) {
  const auto plain = MakeByteTextModel(/*with_chat_template=*/false);
  ASSERT_NE(plain, nullptr);
  Admission admission(model_, *plain, 10);
  const auto status =
      admission
          .Admit(Parse<v1::GenerateRequest>("chat { messages { role: 'user' content: 'a' } }"),
                 times_, "id", /*guide=*/nullptr)
          .status();
  EXPECT_EQ(FieldOf(status), "chat");
  EXPECT_THAT(std::string(status.message()), HasSubstr("no chat template"));
}

TEST_F(AdmissionTest, RefusesSamplingParametersOutOfRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const std::pair<const char*, std::vector<double>> kBad[] = {
      {"temperature", {-0.1, 100.5, nan, inf, -inf}},
      {"top_p", {0, -1, 1.01, nan, inf}},
      {"min_p", {-0.1, 1.01, nan, inf}},
      {"typical_p", {0, 1.01, nan}},
      {"repetition_penalty", {0, -1, nan, inf}},
      {"presence_penalty", {-2.1, 2.1, nan}},
      {"frequency_penalty", {-2.1, 2.1, nan}},
  };
  for (const auto& [field, values] : kBad) {
    for (double value : values) {
      v1::GenerateRequest request;
      request.set_text("a");
      auto& sampling = *request.mutable_sampling();
      sampling.GetReflection()->SetFloat(
          &sampling, sampling.GetDescriptor()->FindFieldByName(field), static_cast<float>(value));
      ExpectRefused(request, absl::StatusCode::kInvalidArgument, std::string("sampling.") + field);
    }
  }
}

TEST_F(AdmissionTest, RefusesTokenIdsOutsideOfTheVocabulary) {
  ExpectInvalid("text: 'a' sampling { logit_bias { key: 300 value: 1 } }",
                "sampling.logit_bias[300]");
  ExpectInvalid("text: 'a' sampling { logit_bias { key: 3 value: 101 } }",
                "sampling.logit_bias[3]");
  ExpectInvalid("text: 'a' sampling { allowed_token_ids: [1, 300] }",
                "sampling.allowed_token_ids[1]");
  ExpectInvalid("text: 'a' stopping { stop_token_ids: [1, 300] }", "stopping.stop_token_ids[1]");
}

TEST_F(AdmissionTest, RefusesBadStopping) {
  ExpectInvalid("text: 'a' stopping { max_new_tokens: 0 }", "stopping.max_new_tokens");
  ExpectInvalid("text: 'a' stopping { max_new_tokens: 2 min_new_tokens: 3 }",
                "stopping.min_new_tokens");
  ExpectInvalid("text: 'a' stopping { min_new_tokens: 64 }", "stopping.min_new_tokens");
  ExpectInvalid("text: 'a' stopping { min_new_tokens: 4294967295 }", "stopping.min_new_tokens");
  ExpectInvalid("text: 'a' stopping { time_limit_ms: 0 }", "stopping.time_limit_ms");
  ExpectInvalid("text: 'a' stopping { stop_strings: ['x', ''] }", "stopping.stop_strings[1]");
  ExpectInvalid("text: 'a' stopping { stop_strings: '" + std::string(1025, 'x') + "' }",
                "stopping.stop_strings[0]");
  v1::GenerateRequest many = Parse<v1::GenerateRequest>("text: 'a'");
  for (std::size_t i = 0; i <= limits::kStopStrings; ++i)
    many.mutable_stopping()->add_stop_strings("x");
  ExpectRefused(many, absl::StatusCode::kInvalidArgument, "stopping.stop_strings");
  many.mutable_stopping()->clear_stop_strings();
  for (std::size_t i = 0; i <= limits::kStopTokenIds; ++i)
    many.mutable_stopping()->add_stop_token_ids(1);
  ExpectRefused(many, absl::StatusCode::kInvalidArgument, "stopping.stop_token_ids");
}

TEST_F(AdmissionTest, RefusesOtherBadFields) {
  ExpectInvalid("text: 'a' request_id: 'a b'", "request_id");
  ExpectInvalid("text: 'a' num_sequences: 0", "num_sequences");
  ExpectInvalid("text: 'a' priority: 101", "priority");
  ExpectInvalid("text: 'a' priority: -101", "priority");
  ExpectInvalid("text: 'a' output { logprobs: 21 }", "output.logprobs");
  ExpectInvalid("text: 'a' cache { salt: '" + std::string(1025, 's') + "' }", "cache.salt");
}

TEST_F(AdmissionTest, PassesOnEveryWayToChangeTheLogits) {
  model_.defaults.repetition_penalty = 1.5F;
  model_.defaults.typical_p = 0.8F;
  const auto defaults = Admit("text: 'a'");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->requests[0]->sampling.repetition_penalty(), 1.5F);
  EXPECT_EQ(defaults->requests[0]->sampling.typical_p(), 0.8F);
  EXPECT_EQ(defaults->requests[0]->sampling.presence_penalty(), 0);
  const auto admitted = Admit(R"(text: 'a'
      sampling { typical_p: 0.9 repetition_penalty: 1 presence_penalty: -0.5 frequency_penalty: 0.25
                 logit_bias { key: 3 value: 0 } logit_bias { key: 4 value: -100 }
                 allowed_token_ids: [7, 5] })");
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  const worker::v1::Sampling& sampling = admitted->requests[0]->sampling;
  EXPECT_EQ(sampling.typical_p(), 0.9F);
  EXPECT_EQ(sampling.repetition_penalty(), 1);
  EXPECT_EQ(sampling.presence_penalty(), -0.5F);
  EXPECT_EQ(sampling.frequency_penalty(), 0.25F);
  ASSERT_EQ(sampling.logit_bias_size(), 1);
  EXPECT_EQ(sampling.logit_bias().at(4), -100);
  EXPECT_THAT(sampling.allowed_token_ids(), ElementsAre(7, 5));
}

TEST_F(AdmissionTest, RefusesTooManyTokensAndAnswers) {
  auto request = Parse<v1::GenerateRequest>("text: 'a'");
  for (std::size_t i = 0; i <= limits::kAllowedTokenIds; ++i)
    request.mutable_sampling()->add_allowed_token_ids(1);
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "sampling.allowed_token_ids");
  request = Parse<v1::GenerateRequest>("text: 'a'");
  for (uint32_t i = 0; i <= limits::kLogitBiases; ++i)
    (*request.mutable_sampling()->mutable_logit_bias())[i] = 1;
  ExpectRefused(request, absl::StatusCode::kInvalidArgument, "sampling.logit_bias");
  ExpectInvalid("text: 'a' num_sequences: 129", "num_sequences");
  model_.max_sequences = 5;
  EXPECT_TRUE(Admit("text: 'a' num_sequences: 5").ok());
  ExpectInvalid("text: 'a' num_sequences: 6", "num_sequences");
  ExpectInvalid("text: 'a' output { prompt_logprobs: 21 }", "output.prompt_logprobs");
}

TEST_F(AdmissionTest, RefusesAMinimumLengthThatNoAllowedTokenCanReach) {
  model_.defaults.eos_token_ids = {kByteEos};
  const std::string allowed = absl::StrCat("sampling { allowed_token_ids: [", kByteEos, ", 5] }");
  ExpectInvalid(
      absl::StrCat("text: 'a' stopping { min_new_tokens: 2 stop_token_ids: 5 } ", allowed),
      "sampling.allowed_token_ids");
  EXPECT_TRUE(Admit(absl::StrCat("text: 'a' stopping { min_new_tokens: 2 } ", allowed)).ok());
}

TEST_F(AdmissionTest, SeveralSequencesDifferInTheSeedAlone) {
  const auto admitted = Admit(R"(text: 'ab' num_sequences: 3 sampling { seed: 7 }
      output { prompt_logprobs: 2 } cache { bypass: true salt: 's' })");
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  ASSERT_EQ(admitted->requests.size(), 3u);
  const EngineRequest& first = *admitted->requests[0];
  EXPECT_EQ(first.sampling.seed(), 7u);
  EXPECT_EQ(first.num_prompt_logprobs, 2u);
  EXPECT_NE(first.prompt_group, 0u);
  for (uint32_t i = 1; i < 3; ++i) {
    const EngineRequest& request = *admitted->requests[i];
    EXPECT_EQ(request.sampling.seed(), SequenceSeed(7, i));
    EXPECT_EQ(request.id, first.id);
    EXPECT_EQ(request.prompt, first.prompt);
    EXPECT_EQ(request.prompt_group, first.prompt_group);
    EXPECT_TRUE(request.cache_bypass);
    EXPECT_EQ(request.cache_salt, "s");
    EXPECT_FALSE(request.num_prompt_logprobs.has_value());
  }
  const auto other = Admit("text: 'ab' num_sequences: 2");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(other->requests[0]->prompt_group, first.prompt_group);
  EXPECT_EQ(Admit("text: 'ab'")->requests[0]->prompt_group, 0u);
}

// The generator's first outputs from state 0, as its authors' reference implementation gives them.
TEST(SequenceSeed, IsTheSeedItselfAndThenSplitMix64) {
  EXPECT_EQ(SequenceSeed(0, 0), 0u);
  EXPECT_EQ(SequenceSeed(0, 1), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(SequenceSeed(0, 2), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(SequenceSeed(0, 3), 0x06C45D188009454Fu);
}

}  // namespace
}  // namespace lockstep::server
