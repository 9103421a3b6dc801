// oneOf: taken where at most one alternative can hold, which then is as anyOf; refused elsewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/unit/server/text/vocabulary.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using Kind = GuideSpec::Kind;

class OneOfTest : public ::testing::Test {
 protected:
  const Vocabulary vocabulary_{"llama3.json", {2}};
};

// As tools write a union that a member tells apart.
constexpr char kUnion[] = R"({
  "$defs": {
    "Cat": {"type": "object", "additionalProperties": false, "required": ["kind", "lives"],
            "properties": {"kind": {"const": "cat", "type": "string"}, "lives": {"type": "integer"}}},
    "Dog": {"type": "object", "additionalProperties": false, "required": ["kind", "tricks"],
            "properties": {"kind": {"$ref": "#/$defs/DogKind"}, "tricks": {"type": "boolean"}}},
    "DogKind": {"enum": ["dog", "puppy"]}},
  "type": "object", "additionalProperties": false, "required": ["pet"],
  "properties": {"pet": {
    "discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
    "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}}})";

TEST_F(OneOfTest, AnswersOfATaggedUnionAreOneOfItsMembers) {
  const auto guide = vocabulary_.compiler().Compile({Kind::kJsonSchema, kUnion});
  ASSERT_TRUE(guide.ok()) << guide.status();
  std::set<std::string> kinds;
  for (int seed = 0; seed < 60; ++seed) {
    const Json pet = Json::parse(vocabulary_.RandomAnswer(**guide, seed))["pet"];
    const std::string kind = pet["kind"];
    kinds.insert(kind);
    EXPECT_EQ(pet.contains("lives"), kind == "cat") << pet;
    EXPECT_EQ(pet.contains("tricks"), kind != "cat") << pet;
  }
  EXPECT_THAT(kinds, ::testing::IsSupersetOf({"cat", "dog"}));
}

TEST_F(OneOfTest, WhatExcludesEachOtherIsTakenInEveryForm) {
  for (
      const char* schema :
      {R"({"oneOf": [{"type": "string"}, {"type": ["integer", "null"]}, {"type": "array"}]})",
       R"({"oneOf": [{"const": "a"}, {"enum": ["b", 1]}, {"const": 2}]})",
       R"({"anyOf": [{"type": "string"}, {"type": "object"}],
            "oneOf": [{"const": "a"}, {"const": {"b": 1}}]})",
       R"({"oneOf": [{"allOf": [{"type": "object"}], "properties": {"t": {"const": 1}}, "required": ["t"]},
                      {"type": "object", "properties": {"t": {"const": 2}}, "required": ["t"]}, false]})",
       R"({"type": "array", "items": {"oneOf": [{"type": "boolean"}, {"type": "number"}]}})"}) {
    const auto guide = vocabulary_.compiler().Compile({Kind::kJsonSchema, schema});
    EXPECT_TRUE(guide.ok()) << schema << ": " << guide.status();
  }
}

TEST_F(OneOfTest, WhatMayHoldTogetherIsRefusedWithTheFix) {
  for (const char* schema : {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})",
                             R"({"oneOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]})",
                             R"({"oneOf": [{"const": 1}, {"const": 1.0}]})",
                             // Neither says that it is an object, nor that the tag has to be there.
                             R"({"oneOf": [{"properties": {"t": {"const": 1}}, "required": ["t"]},
                      {"properties": {"t": {"const": 2}}, "required": ["t"]}]})",
                             R"({"oneOf": [{"type": "object", "properties": {"t": {"const": 1}}},
                      {"type": "object", "properties": {"t": {"const": 2}}}]})"}) {
    const absl::Status status = vocabulary_.Refusal(Kind::kJsonSchema, schema);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << schema;
    EXPECT_THAT(std::string(status.message()), HasSubstr("a const of its own")) << schema;
  }
  // Whoever says so may have anyOf.
  EXPECT_TRUE(vocabulary_.compiler()
                  .Compile({Kind::kJsonSchema, R"({"x-guidance": {"coerce_one_of": true},
                                                   "oneOf": [{"type": "integer"}, {"type": "number"}]})"})
                  .ok());
}

TEST_F(OneOfTest, IsTakenUnderPropertiesWhoseNamesAreKeywordsToo) {
  for (const char* name :
       {"value", "default", "const", "enum", "examples", "properties", "oneOf"}) {
    const Json tag_a = {
        {"type", "object"}, {"properties", {{"t", {{"const", 1}}}}}, {"required", {"t"}}};
    const Json tag_b = {
        {"type", "object"}, {"properties", {{"t", {{"const", 2}}}}}, {"required", {"t"}}};
    const Json schema = {{"properties",
                          {{name, {{"oneOf", {tag_a, tag_b}}}},
                           {"n", {{"id", "a name"}, {"$ref", "#/$defs/number"}}}}},
                         {"$defs", {{"number", {{"type", "number"}, {"multipleOf", 0.07}}}}}};
    const auto guide = vocabulary_.compiler().Compile({Kind::kJsonSchema, schema.dump()});
    EXPECT_TRUE(guide.ok()) << name << ": " << guide.status();
  }
}

TEST_F(OneOfTest, IsLeftAloneWhereItIsData) {
  const auto guide = vocabulary_.compiler().Compile(
      {Kind::kJsonSchema, R"({"const": {"oneOf": [{"type": "string"}, {"type": "null"}]}})"});
  ASSERT_TRUE(guide.ok()) << guide.status();
  EXPECT_TRUE(Json::parse(vocabulary_.RandomAnswer(**guide, 1)).contains("oneOf"));
}

}  // namespace
}  // namespace lockstep::server
