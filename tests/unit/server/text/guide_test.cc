#include "server/text/guide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/text/vocabulary.h"

namespace lockstep::server {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using Kind = GuideSpec::Kind;

constexpr char kPersonSchema[] = R"({"type": "object", "additionalProperties": false,
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                   "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}},
    "required": ["name", "age"]})";

class GuideTest : public ::testing::TestWithParam<const char*> {
 protected:
  // "</s>" and the like stand in for the ends that generation_config.json names.
  const Vocabulary vocabulary_{GetParam(), {2}};
};

INSTANTIATE_TEST_SUITE_P(Tokenizers, GuideTest, ::testing::Values("llama2.json", "llama3.json"),
                         [](const auto& info) {
                           const std::string name = info.param;
                           return name.substr(0, name.find('.'));
                         });

TEST_P(GuideTest, AnswersUnderASchemaFollowIt) {
  const auto guide = vocabulary_.compiler().Compile({Kind::kJsonSchema, kPersonSchema});
  ASSERT_TRUE(guide.ok()) << guide.status();
  int num_complete = 0;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const std::string answer = vocabulary_.RandomAnswer(**guide, seed);
    if (answer.empty()) continue;
    ++num_complete;
    const Json parsed = Json::parse(answer, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(parsed.is_object()) << answer;
    EXPECT_TRUE(parsed.at("name").is_string()) << answer;
    EXPECT_TRUE(parsed.at("age").is_number_integer()) << answer;
    EXPECT_LE(parsed.at("age").get<int64_t>(), 150) << answer;
    EXPECT_LE(parsed.value("tags", Json::array()).size(), 2U) << answer;
  }
  EXPECT_GE(num_complete, 25);
}

TEST_P(GuideTest, AnswersUnderARegexMatchItAsAWhole) {
  const std::string pattern = "[a-c]{2,5}-[0-9]+(x|yy)?";
  const auto guide = vocabulary_.compiler().Compile({Kind::kRegex, pattern});
  ASSERT_TRUE(guide.ok()) << guide.status();
  for (uint32_t seed = 0; seed < 30; ++seed) {
    const std::string answer = vocabulary_.RandomAnswer(**guide, seed);
    EXPECT_TRUE(answer.empty() || std::regex_match(answer, std::regex(pattern))) << answer;
  }
}

TEST_P(GuideTest, AnswersUnderAChoiceAreOneOfTheTexts) {
  const std::vector<std::string> choices = {"yes", "no", "a \"quoted\" (one)? [x]\n", "já", "日本"};
  const auto guide = vocabulary_.compiler().Compile({Kind::kChoice, Json(choices).dump()});
  ASSERT_TRUE(guide.ok()) << guide.status();
  std::vector<int> counts(choices.size());
  for (uint32_t seed = 0; seed < 100; ++seed) {
    const std::string answer = vocabulary_.RandomAnswer(**guide, seed);
    const auto found = std::find(choices.begin(), choices.end(), answer);
    ASSERT_NE(found, choices.end()) << answer;
    ++counts[static_cast<size_t>(found - choices.begin())];
  }
  for (size_t i = 0; i < choices.size(); ++i) EXPECT_GT(counts[i], 0) << choices[i];
}

TEST_P(GuideTest, AnswersUnderAGrammarFollowIt) {
  const auto guide = vocabulary_.compiler().Compile(
      {Kind::kLark,
       "start: term (\"+\" term)*\nterm: NUMBER | \"(\" start \")\"\nNUMBER: /[0-9]{1,3}/\n"});
  ASSERT_TRUE(guide.ok()) << guide.status();
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::string answer = vocabulary_.RandomAnswer(**guide, seed, 200);
    EXPECT_EQ(std::count(answer.begin(), answer.end(), '('),
              std::count(answer.begin(), answer.end(), ')'))
        << answer;
    EXPECT_EQ(answer.find_first_not_of("0123456789+()"), std::string::npos) << answer;
  }
}

TEST_P(GuideTest, TheEndMayComeOnlyWhereTheAnswerIsComplete) {
  const auto guide = vocabulary_.compiler().Compile({Kind::kRegex, "a+"});
  ASSERT_TRUE(guide.ok()) << guide.status();
  GuideState state = *(*guide)->Start();
  const auto contains_end = [&] {
    const std::vector<int32_t> allowed = vocabulary_.Allowed(state);
    return std::find(allowed.begin(), allowed.end(), 2) != allowed.end();
  };
  EXPECT_FALSE(contains_end());
  const int32_t a = *vocabulary_.text().TokenToId("a");
  EXPECT_EQ(*state.Accept(a), false);
  EXPECT_TRUE(contains_end());
  EXPECT_EQ(*state.Accept(2), true);
}

TEST_P(GuideTest, AForbiddenTokenIsAnError) {
  const auto guide = vocabulary_.compiler().Compile({Kind::kRegex, "a+"});
  GuideState state = *(*guide)->Start();
  EXPECT_EQ(state.Accept(*vocabulary_.text().TokenToId("b")).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_P(GuideTest, AnswersOfOneGuideAreIndependent) {
  const auto guide = vocabulary_.compiler().Compile({Kind::kRegex, "ab"});
  GuideState first = *(*guide)->Start();
  GuideState second = *(*guide)->Start();
  ASSERT_TRUE(first.Accept(*vocabulary_.text().TokenToId("a")).ok());
  EXPECT_NE(vocabulary_.Allowed(first), vocabulary_.Allowed(second));
}

TEST(GuideCompilerTest, AModelWithoutAnEndTokenEndsWhereNothingMayFollow) {
  const Vocabulary vocabulary("llama3.json");
  const auto guide = vocabulary.compiler().Compile({Kind::kRegex, "ab"});
  ASSERT_TRUE(guide.ok());
  EXPECT_EQ(vocabulary.RandomAnswer(**guide, 1), "ab");
}

TEST(GuideCompilerTest, MultiplesOfDifferentValuesAreBoundedEachByItself) {
  const Vocabulary vocabulary("llama3.json", {2});
  for (const char* schema :
       {R"({"properties": {"a": {"multipleOf": 9973}, "b": {"multipleOf": 9967}}})",
        R"({"type": "number", "multipleOf": 0.01, "allOf": [{"multipleOf": 2.5}]})",
        R"({"multipleOf": 5, "allOf": [{"$ref": "#/$defs/a"}],
            "$defs": {"a": {"type": "integer", "multipleOf": 1000}}})",
        R"({"enum": [{"multipleOf": 99999989}, 1]})"}) {
    EXPECT_TRUE(vocabulary.compiler().Compile({Kind::kJsonSchema, schema}).ok()) << schema;
  }
}

// llguidance has all numbers as floating-point numbers: what it would take for a neighbour is
// refused.
TEST(GuideCompilerTest, IntegersOfConstAndEnumAreExactOrRefused) {
  const Vocabulary vocabulary("llama3.json", {2});
  for (const char* number : {"9007199254740992", "-9007199254740994", "9223372036854774784"}) {
    const auto guide = vocabulary.compiler().Compile(
        {Kind::kJsonSchema, R"({"type": "integer", "const": )" + std::string(number) + "}"});
    ASSERT_TRUE(guide.ok()) << guide.status();
    EXPECT_EQ(Json::parse(vocabulary.RandomAnswer(**guide, 1)).dump(), number);
  }
  for (const char* schema :
       {R"({"const": 1234567890123456789})",
        R"({"enum": [175928847299117063, 175928847299117064]})",
        R"({"items": {"enum": [{"a": [9007199254740993]}]}})",
        R"({"const": 12345678901234567890123})", R"({"const": -9223372036854775808})"}) {
    EXPECT_THAT(std::string(vocabulary.Refusal(Kind::kJsonSchema, schema).message()),
                HasSubstr("give ids as strings"))
        << schema;
  }
}

TEST(GuideCompilerTest, IntegersBeyondAllFloatsKeepWithinTheirBounds) {
  const Vocabulary vocabulary("llama3.json", {2});
  const struct {
    const char* schema;
    int64_t least;
    int64_t greatest;
  } cases[] = {
      {R"({"minimum": 9007199254740993, "maximum": 9007199254741003})", 9007199254740993,
       9007199254741003},
      {R"({"exclusiveMinimum": 9007199254740992, "exclusiveMaximum": 9007199254740998})",
       9007199254740993, 9007199254740997},
      {R"({"minimum": -9007199254740998, "maximum": -9007199254740994, "exclusiveMaximum": true})",
       -9007199254740998, -9007199254740995},
      {R"({"minimum": 5, "exclusiveMinimum": -1e300, "maximum": 1e300, "exclusiveMaximum": 9})", 5,
       8},
      {R"({"minimum": 9223372036854770000, "maximum": 18446744073709551615})", 9223372036854770000,
       std::numeric_limits<int64_t>::max()},
      {R"({"minimum": 1e18})", 1000000000000000000, std::numeric_limits<int64_t>::max()},
      {R"({"maximum": -1e18})", std::numeric_limits<int64_t>::min(), -1000000000000000000},
  };
  for (const auto& [text, least, greatest] : cases) {
    Json schema = Json::parse(text);
    schema["type"] = "integer";
    const auto guide = vocabulary.compiler().Compile({Kind::kJsonSchema, schema.dump()});
    ASSERT_TRUE(guide.ok()) << schema << guide.status();
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const Json answer = Json::parse(vocabulary.RandomAnswer(**guide, seed));
      ASSERT_TRUE(answer.is_number_integer()) << answer;
      EXPECT_GE(answer.get<int64_t>(), least) << schema << answer;
      EXPECT_LE(answer.get<int64_t>(), greatest) << schema << answer;
    }
  }
}

TEST(GuideCompilerTest, BoundsOfWholeTypesAreTaken) {
  const Vocabulary vocabulary("llama3.json", {2});
  for (
      const char* schema :
      {R"({"type": "integer", "minimum": -9223372036854775808, "maximum": 9223372036854775807})",
       R"({"type": "integer", "minimum": -9223372036854775808})",
       R"({"type": "integer", "maximum": 18446744073709551615})",
       R"({"type": "integer", "minimum": 0, "maximum": 18446744073709551615})",
       R"({"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38})",
       R"({"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308})",
       R"({"type": "number", "minimum": 0, "maximum": 1e20})"}) {
    EXPECT_EQ(vocabulary.Refusal(Kind::kJsonSchema, schema), absl::OkStatus()) << schema;
  }
}

TEST(GuideCompilerTest, AnnotationsAndWhatAsksForNothingAreTaken) {
  const Vocabulary vocabulary("llama3.json", {2});
  for (
      const char* schema :
      {R"({"type": "string", "format": "path"})",
       R"({"type": "string", "format": "uri-reference"})",
       R"({"type": "integer", "format": "int32"})", R"({"type": "array", "uniqueItems": false})",
       R"({"type": "object", "dependentSchemas": {}, "properties": {"a": {"format": "password"}}})"}) {
    EXPECT_EQ(vocabulary.Refusal(Kind::kJsonSchema, schema), absl::OkStatus()) << schema;
  }
  EXPECT_THAT(
      std::string(vocabulary.Refusal(Kind::kJsonSchema, R"({"uniqueItems": true})").message()),
      HasSubstr("uniqueItems"));
  // Neither where they are names nor where they are data.
  const std::string named =
      R"({"type": "object", "additionalProperties": false, "required": ["format"],
                                "properties": {"format": {"const": {"format": "path", "uniqueItems": false}}}})";
  const auto guide = vocabulary.compiler().Compile({Kind::kJsonSchema, named});
  ASSERT_TRUE(guide.ok()) << guide.status();
  EXPECT_EQ(Json::parse(vocabulary.RandomAnswer(**guide, 1)),
            Json::parse(R"({"format": {"format": "path", "uniqueItems": false}})"));
}

TEST(GuideCompilerTest, APatternThatNamedPropertiesUseUpOffersNoFurtherMember) {
  const Vocabulary vocabulary("llama3.json", {2});
  for (const char* a : {R"({"type": "number"})", R"({"enum": ["x"]})"}) {
    const std::string schema = absl::StrCat(
        R"({"type": "object", "additionalProperties": false, "required": ["b"], "x-guidance": {"whitespace_flexible": false},
            "properties": {"b": {"const": 1}, "a": )",
        a, R"(}, "patternProperties": {"^a$": {"type": "string"}}})");
    const auto guide = vocabulary.compiler().Compile({Kind::kJsonSchema, schema});
    ASSERT_TRUE(guide.ok()) << guide.status();
    for (uint32_t seed = 0; seed < 20; ++seed) {
      EXPECT_THAT(vocabulary.RandomAnswer(**guide, seed),
                  AnyOf(R"({"b":1})", R"({"b":1,"a":"x"})"));
    }
  }
}

TEST(GuideCompilerTest, RefusalsSayWhy) {
  const Vocabulary vocabulary("llama3.json", {2});
  const struct {
    Kind kind;
    const char* text;
    const char* reason;
  } cases[] = {
      {Kind::kJsonSchema, "{", "is not JSON"},
      {Kind::kJsonSchema, "[1]", "neither a JSON object"},
      {Kind::kJsonSchema, R"({"type": "strin"})", "strin"},
      {Kind::kJsonSchema, R"({"$ref": "https://example.com/a.json"})", "example.com"},
      {Kind::kJsonSchema, R"({"type": "integer", "minimum": 3, "maximum": 1})", "nsatisfiable"},
      {Kind::kJsonSchema, R"({"type": "string", "unknownKeyword": 1, "not": {}})", "not"},
      {Kind::kJsonSchema, R"({"$ref": "#"})", "is unsatisfiable"},
      {Kind::kJsonSchema, R"({"type": "integer", "multipleOf": 99999989})", "is 99999989;"},
      {Kind::kJsonSchema, R"({"items": [{"multipleOf": 1e-10}]})", "multipleOf is 0.0000000001;"},
      {Kind::kJsonSchema, R"({"multipleOf": 99.7, "allOf": [{"multipleOf": 9.91}]})",
       "multipleOf is 988027e-"},
      {Kind::kJsonSchema, R"({"multipleOf": 997, "$ref": "#/$defs/a",
                              "$defs": {"a": {"multipleOf": 991}}})",
       "of several at once"},
      {Kind::kLark, R"(start: "a" %json {"multipleOf": 99999989})", "multipleOf is 99999989;"},
      {Kind::kRegex, "a(", "("},
      {Kind::kRegex, "a\\", "backslash"},
      {Kind::kRegex, "\\\\\\", "backslash"},
      {Kind::kLark, "start: missing", "missing"},
      {Kind::kLark, "start: start", "is unsatisfiable"},
      {Kind::kLark, "", ""},
  };
  for (const auto& each : cases) {
    const absl::Status status = vocabulary.Refusal(each.kind, each.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << each.text << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(each.reason)) << each.text;
    EXPECT_LE(status.message().size(), 1000U);
  }
}

}  // namespace
}  // namespace lockstep::server
