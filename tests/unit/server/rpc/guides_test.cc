// Guided answers, from the request to the text.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/server/rpc/grpc_server_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// Random tokens, seeded.
v1::GenerateRequest RandomRequest(const std::string& guide, uint64_t seed, int max_new_tokens) {
  auto request = ParseRequest("text: 'say' sampling { temperature: 1 }");
  if (!guide.empty()) *request.mutable_guide() = ParseRequest("guide {" + guide + "}").guide();
  request.mutable_sampling()->set_seed(seed);
  request.mutable_stopping()->set_max_new_tokens(static_cast<uint32_t>(max_new_tokens));
  return request;
}

// How long the workers wait for masks: as long as it takes, or not at all.
class GuidesTest : public ::testing::TestWithParam<absl::Duration> {
 protected:
  Frontend frontend_{{.answer = "",
                      .is_random = true,
                      .max_model_len = 4096,
                      .num_kv_blocks = 8192,
                      .mask_patience = GetParam()}};
};

INSTANTIATE_TEST_SUITE_P(Patience, GuidesTest,
                         ::testing::Values(absl::Seconds(60), absl::ZeroDuration()),
                         [](const auto& info) {
                           return info.param == absl::ZeroDuration() ? "none" : "long";
                         });

TEST_P(GuidesTest, AnswersMatchTheRegexWhateverRunsBesideThem) {
  const std::string pattern = "[0-9]{3}-[a-f]{2,40}(x|yz)";
  const std::regex regex(pattern);  // compiling one writes what all threads share
  std::vector<std::thread> threads;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    threads.emplace_back([&, seed] {
      const bool is_guided = seed % 3 != 0;
      const auto request =
          RandomRequest(is_guided ? "regex: '" + pattern + "'" : "", seed, is_guided ? 200 : 60);
      const StreamedAnswer answer = Stream(frontend_, request);
      ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
      if (!is_guided) return;
      EXPECT_EQ(answer.finished.reason(), v1::EOS) << answer.text;
      EXPECT_TRUE(std::regex_match(answer.text, regex)) << answer.text;
      EXPECT_EQ(Stream(frontend_, request).text, answer.text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(frontend_.WaitUntilIdle());
  EXPECT_TRUE(frontend_.pool().violation().ok()) << frontend_.pool().violation();
}

TEST_P(GuidesTest, FinishedJsonAlwaysParses) {
  const std::string schema =
      R"({"type": "object", "properties": {"city": {"type": "string", "maxLength": 12},
          "people": {"type": "integer"}}, "required": ["city", "people"], "additionalProperties": false})";
  v1::GenerateRequest request = RandomRequest("", 0, 3000);
  request.mutable_guide()->set_json_schema(schema);
  int num_finished = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    request.mutable_sampling()->set_seed(seed);
    const StreamedAnswer answer = Stream(frontend_, request);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    if (answer.finished.reason() != v1::EOS) continue;
    ++num_finished;
    const auto parsed = nlohmann::json::parse(answer.text, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(parsed.is_object()) << answer.text;
    EXPECT_TRUE(parsed.at("city").is_string());
    EXPECT_TRUE(parsed.at("people").is_number_integer());
  }
  EXPECT_GE(num_finished, 8);
}

TEST_P(GuidesTest, SeveralAnswersEachFollowTheGuide) {
  auto request =
      RandomRequest("choice { choices: 'left' choices: 'right' choices: 'both' }", 5, 50);
  request.set_num_sequences(8);
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const auto status = frontend_.inference().Generate(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(response.sequences_size(), 8);
  for (const auto& sequence : response.sequences()) {
    EXPECT_THAT(sequence.text(), AnyOf("left", "right", "both"));
    EXPECT_EQ(sequence.finished().reason(), v1::EOS);
  }
}

TEST_P(GuidesTest, TheGuideWinsOverWhatElseForbidsTokens) {
  auto request = RandomRequest("regex: '[ab]{3}'", 5, 50);
  request.mutable_stopping()->set_min_new_tokens(20);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_sampling()->add_allowed_token_ids('z');
  const StreamedAnswer answer = Stream(frontend_, request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_TRUE(std::regex_match(answer.text, std::regex("[ab]{3}"))) << answer.text;
  EXPECT_EQ(answer.finished.reason(), v1::EOS);
}

TEST_P(GuidesTest, AnAnswerThatIsCutOffSaysSo) {
  const StreamedAnswer answer = Stream(frontend_, RandomRequest("regex: '[a-z]{30}'", 1, 10));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.finished.reason(), v1::LENGTH);
  EXPECT_TRUE(std::regex_match(answer.text, std::regex("[a-z]{10}"))) << answer.text;
}

TEST_P(GuidesTest, ACancelledGuidedStreamLeavesNothingBehind) {
  for (int i = 0; i < 5; ++i) {
    grpc::ClientContext context;
    auto reader = frontend_.inference().GenerateStream(
        &context, RandomRequest("regex: '[a-z]{2000}'", 1, 3000));
    v1::GenerateStreamResponse event;
    for (int n = 0; n < i; ++n) reader->Read(&event);
    context.TryCancel();
    reader->Finish();
  }
  EXPECT_TRUE(frontend_.WaitUntilIdle());
  EXPECT_TRUE(frontend_.WaitUntilBlocksAreFree());
  EXPECT_TRUE(frontend_.pool().violation().ok()) << frontend_.pool().violation();
}

TEST(GuideErrors, NameTheField) {
  Frontend frontend({.answer = "hello"});
  const struct {
    const char* guide;
    const char* field;
    const char* reason;
  } cases[] = {
      {"", "guide", "is empty"},
      {"regex: '('", "guide.regex", "("},
      {"json_schema: '{'", "guide.json_schema", "is not JSON"},
      {"json_schema: '{\"type\": \"strin\"}'", "guide.json_schema", "strin"},
      {"grammar: 'start: other'", "guide.grammar", "other"},
      {"choice { choices: '' }", "guide.choice.choices[0]", "is empty"},
  };
  for (const auto& each : cases) {
    auto request = ParseRequest("text: 'a'");
    request.mutable_guide();
    if (each.guide[0] != '\0') request = RandomRequest(each.guide, 1, 5);
    const StreamedAnswer answer = Stream(frontend, request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << each.guide;
    EXPECT_EQ(FieldOf(answer.status), each.field) << answer.status.error_message();
    EXPECT_THAT(answer.status.error_message(), HasSubstr(each.reason));
  }
}

TEST(GuideErrors, AnAnswerThatCannotBeFinishedNamesTheFieldToo) {
  Frontend frontend({.answer = "", .is_random = true});
  // Whoever begins an object of this form never comes to its end.
  auto request = RandomRequest("", 1, 500);
  request.mutable_guide()->set_json_schema(
      R"({"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]})");
  const StreamedAnswer answer = Stream(frontend, request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldOf(answer.status), "guide.json_schema") << answer.status.error_message();
  EXPECT_THAT(answer.status.error_message(), HasSubstr("is unsatisfiable"));
}

}  // namespace
}  // namespace lockstep::server
