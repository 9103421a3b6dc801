#include "server/admission/guide_spec.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "server/admission/limits.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

v1::Guide Parse(const std::string& text_format) {
  v1::Guide guide;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text_format, &guide)) << text_format;
  return guide;
}

TEST(GuideSpecTest, SaysWhatToCompile) {
  EXPECT_EQ(*ToGuideSpec(Parse("json_schema: '{}'")),
            (GuideSpec{GuideSpec::Kind::kJsonSchema, "{}"}));
  EXPECT_EQ(*ToGuideSpec(Parse("json_object: true")),
            (GuideSpec{GuideSpec::Kind::kJsonSchema, R"({"type":"object"})"}));
  EXPECT_EQ(*ToGuideSpec(Parse("regex: 'a+'")), (GuideSpec{GuideSpec::Kind::kRegex, "a+"}));
  EXPECT_EQ(*ToGuideSpec(Parse("grammar: 'start: \"a\"'")),
            (GuideSpec{GuideSpec::Kind::kLark, "start: \"a\""}));
  EXPECT_EQ(*ToGuideSpec(Parse("choice { choices: 'a\"' choices: 'b' }")),
            (GuideSpec{GuideSpec::Kind::kChoice, R"(["a\"","b"])"}));
}

TEST(GuideSpecTest, RefusesWhatIsEmptyOrTooLong) {
  v1::Guide many;
  for (size_t i = 0; i <= limits::kGuideChoices; ++i) many.mutable_choice()->add_choices("a");
  v1::Guide large;
  large.set_regex(std::string(limits::kGuideBytes + 1, 'a'));
  const struct {
    v1::Guide guide;
    const char* field;
  } cases[] = {
      {Parse(""), "guide"},
      {Parse("json_schema: ''"), "guide.json_schema"},
      {Parse("json_object: false"), "guide.json_object"},
      {Parse("choice {}"), "guide.choice.choices"},
      {Parse("choice { choices: 'a' choices: '' }"), "guide.choice.choices[1]"},
      {many, "guide.choice.choices"},
      {large, "guide.regex"},
  };
  for (const auto& each : cases) {
    const absl::Status status = ToGuideSpec(each.guide).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << each.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(each.field));
  }
}

TEST(GuideSpecTest, NamesTheFieldOfACompilersError) {
  const absl::Status named = NameGuideField(GuideFieldName(Parse("regex: '('")),
                                            absl::InvalidArgumentError("unclosed group"));
  EXPECT_THAT(std::string(named.message()), HasSubstr("guide.regex"));
  EXPECT_THAT(std::string(named.message()), HasSubstr("unclosed group"));
  const absl::Status busy = absl::ResourceExhaustedError("busy");
  EXPECT_EQ(NameGuideField("guide.regex", busy), busy);
}

}  // namespace
}  // namespace lockstep::server
