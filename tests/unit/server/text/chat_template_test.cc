#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "server/text/text_model.h"
#include "tests/unit/server/text/checkpoint_directory.h"

namespace lockstep::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<ChatMessage> kHello = {{"user", "Hello"}};

std::unique_ptr<TextModel> WithTemplate(const std::string& source) {
  CheckpointDirectory checkpoint("llama3.json");
  checkpoint.Write("chat_template.jinja", source);
  return LoadOrDie(checkpoint);
}

std::unique_ptr<TextModel> WithConfig(const std::string& config) {
  CheckpointDirectory checkpoint("llama3.json");
  checkpoint.Write("tokenizer_config.json", config);
  return LoadOrDie(checkpoint);
}

absl::StatusOr<std::string> Render(const TextModel& model, std::string_view variables = "") {
  return model.ApplyChatTemplate(kHello, true, variables);
}

void ExpectRefusal(const absl::StatusOr<std::string>& prompt, absl::StatusCode code,
                   const std::string& text) {
  EXPECT_EQ(prompt.status().code(), code) << prompt.status();
  EXPECT_THAT(std::string(prompt.status().message()), HasSubstr(text));
}

TEST(ChatTemplate, IsAPreconditionWhereTheCheckpointHasNone) {
  const auto model = WithConfig("{}");
  EXPECT_FALSE(model->has_chat_template());
  ExpectRefusal(Render(*model), absl::StatusCode::kFailedPrecondition, "has no chat template");
}

TEST(ChatTemplate, ThatDoesNotCompileFailsOnlyWhenUsed) {
  const auto model = WithTemplate("{% for message in messages %}");
  EXPECT_TRUE(model->has_chat_template());
  ExpectRefusal(Render(*model), absl::StatusCode::kFailedPrecondition, "does not compile");
  EXPECT_TRUE(model->Encode("text", true).ok());
}

TEST(ChatTemplate, ThatDoesNotCompileIsAWarningWithItsFileAndTheError) {
  EXPECT_THAT(WithTemplate("{% for message in messages %}")->warnings(),
              ElementsAre(AllOf(HasSubstr("chat_template.jinja: "), HasSubstr("does not compile"),
                                HasSubstr("syntax error"))));
  EXPECT_THAT(WithConfig(R"({"chat_template": [{"name": "default", "template": "x"},
                                               {"name": "tool_use", "template": "{{"}]})")
                  ->warnings(),
              ElementsAre(AllOf(HasSubstr("tokenizer_config.json: "), HasSubstr("\"tool_use\""))));
  EXPECT_THAT(WithTemplate("{{ messages[0].content }}")->warnings(), IsEmpty());
  EXPECT_THAT(WithConfig("{}")->warnings(), IsEmpty());
}

TEST(ChatTemplate, ThatNoneIsTheDefaultIsAWarning) {
  const auto model = WithConfig(R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  EXPECT_TRUE(model->has_chat_template());
  EXPECT_THAT(model->warnings(),
              ElementsAre(HasSubstr("/tokenizer_config.json: chat templates are rag, none is named "
                                    "\"default\", and chats are refused")));
}

TEST(ChatTemplate, RefusesInItsOwnWords) {
  const auto prompt = Render(*WithTemplate("{{ raise_exception('Only cats may speak here.') }}"));
  EXPECT_EQ(prompt.status(), absl::InvalidArgumentError("Only cats may speak here."));
}

TEST(ChatTemplate, RefusesInItsOwnWordsFromWithinAMacro) {
  const auto prompt = Render(
      *WithTemplate("{% macro m() %}{{ raise_exception('deep ' ~ 7) }}{% endmacro %}{{ m() }}"));
  EXPECT_EQ(prompt.status(), absl::InvalidArgumentError("deep 7"));
}

TEST(ChatTemplate, RefusesWhatPythonRefuses) {
  for (const char* source : {"{{ 'abc' % 3 }}",
                             "{{ '%s' % (1, 2) }}",
                             "{{ '%s %s' % 1 }}",
                             "{{ 'x'|replace('a') }}",
                             "{{ 5|truncate(2) }}",
                             "{{ 'abcdefghijkl'|truncate(2) }}",
                             "{{ 'abc'.index('a', 1) }}",
                             "{{ 'abc'.startswith(['a']) }}",
                             "{{ [1, 2, 1].index(2, 2) }}",
                             "{{ dict([1]) }}",
                             "{{ 'a'|abs }}",
                             "{{ 'a'|default('b', true, 1) }}",
                             "{{ ''|default(value='x') }}",
                             "{{ '{!x}'.format(1) }}",
                             "{{ '%d' % 'x' }}",
                             "{{ '100%' % () }}",
                             "{{ '%é' % 1 }}",
                             "{{ '{:é}'.format(1) }}",
                             "{{ '%99999999999s' % 'x' }}",
                             "{{ '%.99999999999f'|format(1.5) }}",
                             "{{ '{:>99999999999}'.format('x') }}",
                             "{{ '%s'|format('a', 'b') }}",
                             "{{ 'user' % 2 }}",
                             "{% macro endless() %}{{ endless() }}{% endmacro %}{{ endless() }}"}) {
    SCOPED_TRACE(source);
    ExpectRefusal(Render(*WithTemplate(source)), absl::StatusCode::kInvalidArgument,
                  "the chat template failed");
  }
}

TEST(ChatTemplate, ComesFromTheConfigAsAStringOrAsANamedList) {
  EXPECT_EQ(*Render(*WithConfig(R"({"chat_template": "one"})")), "one");
  const auto named = WithConfig(R"({"chat_template": [{"name": "tool_use", "template": "tools"},
                                                      {"name": "default", "template": "plain"}]})");
  EXPECT_EQ(*Render(*named), "plain");
  EXPECT_EQ(*Render(*named, R"({"tools": []})"), "tools");
  EXPECT_EQ(*Render(*named, R"({"tools": null})"), "plain");
  ExpectRefusal(Render(*WithConfig(R"({"chat_template": [{"name": "rag", "template": "x"}]})")),
                absl::StatusCode::kFailedPrecondition, "none is named \"default\"");
}

TEST(ChatTemplate, ComesFromItsOwnFileFirst) {
  CheckpointDirectory checkpoint("llama3.json");
  checkpoint.Write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(*Render(*LoadOrDie(checkpoint)), "processor");
  checkpoint.Write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(*Render(*LoadOrDie(checkpoint)), "config");
  checkpoint.Write("chat_template.jinja", "file");
  EXPECT_EQ(*Render(*LoadOrDie(checkpoint)), "file");
  checkpoint.Write("additional_chat_templates/tool_use.jinja", "additional");
  EXPECT_EQ(*Render(*LoadOrDie(checkpoint), R"({"tools": [1]})"), "additional");
}

TEST(ChatTemplate, SeesTheSpecialTokensAndItsVariablesAboveThem) {
  CheckpointDirectory checkpoint("llama3.json");
  checkpoint.Write("tokenizer_config.json", R"({"bos_token": {"content": "<|begin_of_text|>"},
      "eos_token": "<|eot_id|>",
      "chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ tools is none }}{{ x }}"})");
  const auto model = LoadOrDie(checkpoint);
  EXPECT_EQ(*Render(*model), "<|begin_of_text|><|eot_id|>FalseTrue");
  EXPECT_EQ(*Render(*model, R"({"eos_token": "E", "x": [1, 2.5, null]})"),
            "<|begin_of_text|>EFalseTrue[1, 2.5, None]");
}

TEST(ChatTemplate, KeepsTheOrderOfKeys) {
  const auto model = WithTemplate("{% for k in v %}{{ k }}{% endfor %} {{ v | tojson }}");
  EXPECT_EQ(*Render(*model, R"({"v": {"z": 1, "a": {"y": 2, "b": 3}}})"),
            R"(za {"z": 1, "a": {"y": 2, "b": 3}})");
}

TEST(ChatTemplate, TakesTheDateFromTheCallersClock) {
  setenv("TZ", "UTC", 1);
  const auto model = WithTemplate("{{ strftime_now('%d %b %Y') }}");
  EXPECT_EQ(*model->ApplyChatTemplate(kHello, true, "", absl::FromUnixSeconds(1721995200)),
            "26 Jul 2024");
}

// As Python's now(), which knows no zone, whatever the machine's is.
TEST(ChatTemplate, TakesTheDateWithoutATimeZone) {
  const auto model = WithTemplate("{{ strftime_now('%Y%z [%Z|%:z] %%Z%%%d') }}");
  EXPECT_EQ(*model->ApplyChatTemplate(kHello, true, "", absl::FromUnixSeconds(1721995200)),
            "2024 [|] %Z%26");
}

TEST(ChatTemplate, ATestBehindAConcatenationBelongsToItsLastOperand) {
  const char source[] =
      "{{ 'role: ' ~ messages[0].role is in ['user'] }} {{ 'a' ~ 1 is not in [1] }} "
      "{{ 'u' in 'a' ~ 'u' }}";
  const auto prompt = Render(*WithTemplate(source));
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(*prompt, "role: True aFalse True");
}

TEST(ChatTemplate, WritesNumbersAsPythonDoes) {
  const auto model = WithTemplate(
      "{{ 'Default=' ~ lr }} {{ [lr]|join }} {{ '%s' % [lr] }} {{ lr|upper }} {{ [1] + [lr] }}");
  EXPECT_EQ(*Render(*model, R"({"lr": 1e-05})"), "Default=1e-05 1e-05 [1e-05] 1E-05 [1, 1e-05]");
}

TEST(ChatTemplate, RefusesBadInputNamingTheField) {
  const auto model = WithTemplate("x");
  const auto invalid = absl::StatusCode::kInvalidArgument;
  ExpectRefusal(model->ApplyChatTemplate({}, true, ""), invalid, "no messages");
  ExpectRefusal(Render(*model, "{"), invalid, "template_variables is not valid JSON");
  ExpectRefusal(Render(*model, "[1]"), invalid, "template_variables must be a JSON object");
  ExpectRefusal(Render(*model, R"({"messages": []})"), invalid, "\"messages\"");
  ExpectRefusal(Render(*model, "{\"a\": \"\xff\"}"), invalid,
                "template_variables is not valid UTF-8");
  ExpectRefusal(Render(*model, "{\"a\": " + std::string(100000, '[')), invalid, "not valid JSON");
  const std::vector<ChatMessage> messages = {{"user", "ok"}, {"user", "a\xff"}};
  ExpectRefusal(model->ApplyChatTemplate(messages, true, ""), invalid, "messages[1].content");
  const std::vector<ChatMessage> role = {{"us\xff", "ok"}};
  ExpectRefusal(model->ApplyChatTemplate(role, true, ""), invalid, "messages[0].role");
}

TEST(ChatTemplate, ThatNeverEndsIsStopped) {
  const auto model = WithTemplate(
      "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}");
  ExpectRefusal(Render(*model), absl::StatusCode::kInvalidArgument, "did not end within");
}

TEST(ChatTemplate, ThatWritesTooMuchIsStopped) {
  const auto model = WithTemplate("{% for a in range(99999) %}{{ 'a' * 9999999 }}{% endfor %}");
  ExpectRefusal(Render(*model), absl::StatusCode::kInvalidArgument, "exceeds the limit");
}

TEST(ChatTemplate, ThatRecursesWithoutEndIsStopped) {
  const auto model = WithTemplate("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  EXPECT_EQ(Render(*model).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ChatTemplate, ThatIsNestedAbsurdlyDoesNotCompile) {
  std::string source = "{{ ";
  source.append(100000, '(');
  ExpectRefusal(Render(*WithTemplate(source)), absl::StatusCode::kFailedPrecondition,
                "does not compile");
  std::string blocks;
  for (int i = 0; i < 20000; ++i) blocks += "{% if true %}";
  ExpectRefusal(Render(*WithTemplate(blocks)), absl::StatusCode::kFailedPrecondition,
                "does not compile");
}

TEST(ChatTemplate, CannotReachFilesOrOtherTemplates) {
  for (const char* source : {"{% include 'default' %}", "{% extends '/etc/passwd' %}",
                             "{% import 'x' as y %}", "{{ open('/etc/passwd') }}"}) {
    EXPECT_FALSE(Render(*WithTemplate(source)).ok()) << source;
  }
}

TEST(ChatTemplate, RendersALongConversation) {
  const auto model =
      WithTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}");
  const std::vector<ChatMessage> messages(20000, {"user", " a "});
  const auto prompt = model->ApplyChatTemplate(messages, false, "");
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->size(), 20000 * std::string("<user>a").size());
}

}  // namespace
}  // namespace lockstep::server
