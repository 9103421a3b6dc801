// What a guide may cost, beyond what llguidance itself limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/unit/server/text/vocabulary.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using Kind = GuideSpec::Kind;

// An array of what `make` makes of the numbers from 0.
Json Several(int count, const std::function<Json(int)>& make) {
  Json items = Json::array();
  for (int i = 0; i < count; ++i) items.push_back(make(i));
  return items;
}

// Expressions that can go on in several ways at each letter.
Json Ambiguous(int i) {
  return {{"type", "string"}, {"pattern", "[a-z]*" + std::string(1, static_cast<char>('a' + i))}};
}

Json Members(int count, const std::string& prefix, const Json& schema) {
  Json members = Json::object();
  for (int i = 0; i < count; ++i) members[absl::StrCat(prefix, i)] = schema;
  return members;
}

Json Property(const Json& schema) { return {{"properties", {{"a", schema}}}}; }
Json MultipleOf(int number) { return {{"type", "integer"}, {"multipleOf", number}}; }

// `count` definitions, each with what `make` makes of a reference to the one before it.
Json Chain(int count, const std::function<Json(const Json&)>& make) {
  Json definitions = {{"d0", {{"type", "string"}}}};
  const auto reference = [](int i) { return Json{{"$ref", absl::StrCat("#/$defs/d", i)}}; };
  for (int i = 1; i < count; ++i) definitions[absl::StrCat("d", i)] = make(reference(i - 1));
  Json schema = reference(count - 1);
  schema["$defs"] = std::move(definitions);
  return schema;
}

Json Doubled(const Json& reference) {
  const Json both = {{"allOf", {reference, {{"minProperties", 0}}}}};
  return {{"type", "object"}, {"properties", {{"a", both}, {"b", both}}}};
}

std::string LarkChain(int length) {
  std::string grammar = "start: r0\n";
  for (int i = 0; i < length; ++i) absl::StrAppend(&grammar, "r", i, ": r", i + 1, " \"x\"\n");
  return absl::StrCat(grammar, "r", length, ": \"a\"\n");
}

class GuideLimitsTest : public ::testing::Test {
 protected:
  absl::Status Compile(Kind kind, const std::string& text) const {
    return vocabulary_.compiler().Compile({kind, text}).status();
  }
  // Whatever it would have cost, it is refused at once.
  void ExpectRefused(Kind kind, const std::string& text, const std::string& reason) const {
    const absl::Time start = absl::Now();
    const absl::Status status = Compile(kind, text);
    EXPECT_LT(absl::Now() - start, absl::Seconds(5)) << reason << text.substr(0, 200);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 200);
    EXPECT_THAT(std::string(status.message()), HasSubstr(reason)) << text.substr(0, 200);
  }
  void ExpectRefused(const Json& schema, const std::string& reason) const {
    ExpectRefused(Kind::kJsonSchema, schema.dump(), reason);
  }

  const Vocabulary vocabulary_{"llama3.json", {2}};
};

TEST_F(GuideLimitsTest, ManyPatternsAtOneValueAreRefusedHoweverTheyMeet) {
  const Json all = {{"allOf", Several(21, Ambiguous)}};
  const std::string reason = "pattern: 21 of pattern, format, const and enum meet at one value";
  ExpectRefused(all, reason);
  ExpectRefused({{"anyOf", {{{"type", "null"}}, all}}}, reason);
  ExpectRefused({{"allOf", Several(21, [](int i) { return Property(Ambiguous(i)); })}}, reason);
  ExpectRefused({{"allOf", Several(21, [](int i) { return Json{{"items", Ambiguous(i)}}; })}},
                reason);
  Json references = {{"allOf", Several(21, [](int i) {
                        return Json{{"$ref", absl::StrCat("#/%24defs/a~1/", i)}};
                      })}};
  references["$defs"]["a/"] = Several(21, Ambiguous);
  ExpectRefused(references, reason);
  ExpectRefused(Kind::kLark, "start: \"x\" %json " + all.dump(), reason);
}

TEST_F(GuideLimitsTest, APatternOfManyWordsMeetsNoOtherNorManyValues) {
  std::string words = "^(x";
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&words, "|v[0-9]+", i);
  const Json pattern = {{"type", "string"}, {"pattern", words + ")$"}};
  ExpectRefused({{"allOf", {pattern, pattern, Ambiguous(1), Ambiguous(2)}}}, "pattern: 4 of");
  Json values = pattern;
  values["enum"] = Several(200, [](int i) { return absl::StrCat("v", i); });
  ExpectRefused(values, "pattern: 2 of");
}

TEST_F(GuideLimitsTest, MultiplesAreBoundedWhereverTheyMeet) {
  for (const auto& part : std::vector<std::function<Json(int)>>{
           [](int i) { return Property(MultipleOf(997 - 6 * i)); },
           [](int i) { return Json{{"items", MultipleOf(997 - 6 * i)}}; },
           [](int i) { return Json{{"additionalProperties", MultipleOf(997 - 6 * i)}}; }}) {
    ExpectRefused({{"allOf", Several(2, part)}}, "multipleOf is 988027e-0, of several at once");
  }
}

TEST_F(GuideLimitsTest, SchemasThatGrowWhilePutTogetherAreRefused) {
  const Json any = Json::object();
  ExpectRefused({{"patternProperties", Members(300, "^x_", any)}}, "is too complex");
  ExpectRefused({{"properties", Members(1000, "p", any)}, {"minProperties", 1}}, "is too complex");
  ExpectRefused({{"required", Several(40000, [](int i) { return absl::StrCat("p", i); })}},
                "is too complex");
  ExpectRefused(Chain(25, Doubled), "is too complex");
}

// Each makes several copies of the schema within, which makes as many of the one within that.
const std::function<Json(const Json&)> kCopies[] = {
    [](const Json& schema) {
      return Json{{"properties", {{"x", true}, {"y", true}}},
                  {"patternProperties", {{"^", schema}}}};
    },
    [](const Json& schema) {
      return Json{
          {"allOf",
           {{{"properties", {{"x", true}, {"y", true}}}}, {{"additionalProperties", schema}}}}};
    },
    [](const Json& schema) {
      return Json{{"required", {"x", "y"}}, {"additionalProperties", schema}};
    },
    [](const Json& schema) {
      return Json{{"allOf", {{{"prefixItems", {true, true}}}, {{"items", schema}}}}};
    }};

Json Nested(int depth, const std::function<Json(const Json&)>& make, Json schema) {
  for (int i = 0; i < depth; ++i) schema = make(schema);
  return schema;
}

TEST_F(GuideLimitsTest, CopiesOfSchemasArePaidFor) {
  const Json text = {{"type", "string"}};
  const Json number = {{"type", "integer"}};
  for (const auto& copies : kCopies) {
    EXPECT_EQ(Compile(Kind::kJsonSchema, Nested(4, copies, text).dump()), absl::OkStatus());
    ExpectRefused(Nested(25, copies, text), "is too complex");
    ExpectRefused({{"anyOf", {Nested(25, copies, text), Nested(25, copies, number)}}},
                  "is too complex");
  }
  const Json large = {{"const", std::string(400000, 'x')}};
  ExpectRefused(Nested(10, kCopies[0], large), "is too complex");
  const Json list = {{"const", Several(200, [](int i) { return Json(i); })}};
  ExpectRefused(Nested(8, kCopies[0], list), "is too complex");
  const Json members = {{"properties", Members(1000, "p", true)}};
  ExpectRefused({{"allOf", {members, {{"additionalProperties", large}}}}}, "is too complex");
  ExpectRefused(
      {{"allOf",
        {{{"prefixItems", Several(20000, [](int) { return Json(true); })}}, {{"items", large}}}}},
      "is too complex");
}

std::string Repeated(int count, const std::string& text) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

// Reading them would take gigabytes, or minutes.
TEST_F(GuideLimitsTest, RegularExpressionsThatTakeLongToReadAreRefused) {
  const std::string reason = "units of work to read";
  std::string characters = "[";
  for (int i = 0; i < 60000; ++i) {
    for (const int shift : {18, 12, 6, 0}) {
      const int bits = (0x20000 + 2 * i) >> shift;
      characters += static_cast<char>(shift == 18 ? 0xf0 | bits : 0x80 | (bits & 0x3f));
    }
  }
  for (const std::string& regex :
       {Repeated(100000, "\\pL"), "(?i)" + Repeated(500, "\\pL"),
        "(?i:" + Repeated(500, "[b[^a]]") + ")", characters + "]", Repeated(10000, "a?")}) {
    ExpectRefused({{"type", "string"}, {"pattern", regex}}, reason);
    ExpectRefused({{"patternProperties", {{regex, true}}}}, reason);
    ExpectRefused(Kind::kRegex, regex, reason);
    ExpectRefused(Kind::kLark, absl::StrCat("start: T\nT: /", regex, "/"), reason);
  }
  ExpectRefused(Kind::kLark, "start: /" + Repeated(500, "[b[^a]]") + "/i", reason);
  const auto half = [](int) {
    return Json{{"type", "string"}, {"pattern", Repeated(6000, "\\pL")}};
  };
  ExpectRefused({{"anyOf", Several(2, half)}}, "is too complex");
  const std::string terminal = ": /" + Repeated(6000, "\\pL") + "/\n";
  ExpectRefused(Kind::kLark, absl::StrCat("start: A | B\nA", terminal, "B", terminal), reason);
  for (const char* const regex :
       {"(?i)^[\\p{L} \\w'-]{1,40}$", "^\\p{Lu}\\w*([ -]\\p{Lu}\\w*)*$"}) {
    EXPECT_EQ(Compile(Kind::kJsonSchema, Json{{"type", "string"}, {"pattern", regex}}.dump()),
              absl::OkStatus());
  }
}

// An overflow of the stack would end the process.
TEST_F(GuideLimitsTest, WhatRefersDeeplyIsCompiledOrRefusedButDoesNotOverflowTheStack) {
  EXPECT_EQ(Compile(Kind::kJsonSchema, Chain(2000, Property).dump()), absl::OkStatus());
  ExpectRefused(Chain(10000, Property), "$ref: the 10000 schemas");
  EXPECT_EQ(Compile(Kind::kLark, LarkChain(900)), absl::OkStatus());
  ExpectRefused(Kind::kLark, LarkChain(5000), "levels deep");
  ExpectRefused(Kind::kLark, "start: " + std::string(40000, '('),
                "has 40001 words, literals, brackets and signs");
}

TEST_F(GuideLimitsTest, IntersectionsOfAGrammarAreBoundedThroughTheirNames) {
  const std::string name = "start: A\nA: /[a-z]+/ & ~(\"if\" | \"else\")\n";
  EXPECT_EQ(Compile(Kind::kLark, name), absl::OkStatus());
  std::string product = "start: A3\nA0: /.*[a-z]*ab/ & /.*[a-z]*bc/\n";
  for (int i = 1; i < 4; ++i) {
    const std::string before = absl::StrCat("A", i - 1);
    absl::StrAppend(&product, "A", i, ": (", before, " | /x/) & (", before, " | /y/)\n");
  }
  ExpectRefused(Kind::kLark, product, "its 2 expressions with & between them");
}

TEST_F(GuideLimitsTest, WhatPeopleWriteIsTaken) {
  const char* const schemas[] = {
      R"({"type": "string", "format": "email", "pattern": "^[a-z.]+@example\\.com$", "maxLength": 40})",
      R"({"type": "string", "enum": ["a1", "b2", "c"], "pattern": "^[a-z][0-9]$"})",
      R"({"$id": "https://a.b/c.json", "$ref": "https://a.b/c.json#/$defs/a",
          "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}, {"maxLength": 5}]}, "b": {"pattern": "^a+$"}}})",
      R"({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
          "value": {"type": "string", "pattern": "^a+$"}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}}}})"};
  for (const char* schema : schemas) {
    EXPECT_EQ(Compile(Kind::kJsonSchema, schema), absl::OkStatus()) << schema;
  }
  const Json disjoint = {{"allOf", Several(10, [](int i) {
                            return Json{{"pattern", absl::StrCat("^[a-z", i, "]+$")}};
                          })}};
  EXPECT_EQ(Compile(Kind::kJsonSchema, disjoint.dump()), absl::OkStatus());
}

TEST_F(GuideLimitsTest, ReferencesLeadWithinTheSchema) {
  ExpectRefused({{"$ref", "#name"}, {"$defs", {{"a", {{"$anchor", "name"}}}}}},
                "$ref is \"#name\"");
  ExpectRefused({{"items", {{"$id", "x"}, {"$ref", "#/a"}}}}, "$id: a schema with $ref");
  const std::string reason = "where names or data are and no schema";
  ExpectRefused({{"$ref", "#/default"}, {"default", {{"type", "string"}}}}, reason);
  ExpectRefused({{"$ref", "#/$defs"}, {"$defs", {{"type", "string"}}}}, reason);
}

// llguidance would recurse without end at the least integer of 64 bits, which is what it makes of
// lesser ones too.
TEST_F(GuideLimitsTest, BoundsThatLeaveNothingAreRefused) {
  const std::string reason = "there is no number that a guide could bound so";
  const Json negative = {{"type", "integer"}, {"minimum", -1e30}, {"maximum", -1e29}};
  ExpectRefused(negative, reason);
  ExpectRefused(Kind::kLark, "start: %json " + negative.dump(), reason);
  ExpectRefused({{"$ref", "#/$defs/0"}, {"$defs", {negative}}}, reason);
  ExpectRefused({{"type", "integer"}, {"minimum", 10000000000000000000U}}, reason);
  ExpectRefused({{"type", "number"}, {"exclusiveMinimum", 1e20}}, reason);
  ExpectRefused({{"minimum", 9007199254740993}, {"maximum", 9007199254740993}}, reason);
}

// 0.07 times 10, twice, is not 7 in binary numbers.
TEST_F(GuideLimitsTest, MultiplesOfHundredthsAreExactOrRefused) {
  for (const Kind kind : {Kind::kJsonSchema, Kind::kLark}) {
    const std::string schema =
        R"({"type": "number", "minimum": 0, "maximum": 9, "multipleOf": 0.07})";
    const std::string text = kind == Kind::kLark ? "start: %json " + schema : schema;
    const auto guide = vocabulary_.compiler().Compile({kind, text});
    ASSERT_TRUE(guide.ok()) << guide.status();
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::string answer = vocabulary_.RandomAnswer(**guide, seed, 40);
      if (answer.empty()) continue;
      const double sevenths = std::strtod(answer.c_str(), nullptr) / 0.07;
      EXPECT_NEAR(sevenths, std::round(sevenths), 1e-6) << answer;
    }
  }
  ExpectRefused({{"multipleOf", 0.53}}, "as an integer with multipleOf 53");
}

}  // namespace
}  // namespace lockstep::server
