#include "server/admission/guide_spec.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/field_error.h"
#include "server/admission/limits.h"

namespace lockstep::server {
namespace {

absl::Status CheckChoices(const v1::Choice& choice) {
  const auto count = static_cast<std::size_t>(choice.choices_size());
  if (count == 0) {
    return InvalidField("guide.choice.choices", "is empty; give the texts to choose from");
  }
  if (count > limits::kGuideChoices) {
    return InvalidField(
        "guide.choice.choices",
        absl::StrCat("has ", count, " texts; at most ", limits::kGuideChoices, " are allowed"));
  }
  for (int i = 0; i < choice.choices_size(); ++i) {
    if (choice.choices(i).empty()) {
      return InvalidField(absl::StrCat("guide.choice.choices[", i, "]"),
                          "is empty; an answer has at least one character");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSize(const v1::Guide& guide, const GuideSpec& spec) {
  if (spec.text.empty()) return InvalidField(GuideFieldName(guide), "is empty; leave guide out");
  if (spec.text.size() <= limits::kGuideBytes) return absl::OkStatus();
  return InvalidField(GuideFieldName(guide),
                      absl::StrCat("has ", spec.text.size(), " bytes; at most ",
                                   limits::kGuideBytes, " are allowed"));
}

}  // namespace

const char* GuideFieldName(const v1::Guide& guide) {
  switch (guide.guide_case()) {
    case v1::Guide::kJsonSchema:
      return "guide.json_schema";
    case v1::Guide::kJsonObject:
      return "guide.json_object";
    case v1::Guide::kRegex:
      return "guide.regex";
    case v1::Guide::kGrammar:
      return "guide.grammar";
    case v1::Guide::kChoice:
      return "guide.choice";
    case v1::Guide::GUIDE_NOT_SET:
      break;
  }
  return "guide";
}

absl::StatusOr<GuideSpec> ToGuideSpec(const v1::Guide& guide) {
  GuideSpec spec;
  switch (guide.guide_case()) {
    case v1::Guide::kJsonSchema:
      spec = {GuideSpec::Kind::kJsonSchema, guide.json_schema()};
      break;
    case v1::Guide::kJsonObject:
      if (!guide.json_object()) {
        return InvalidField(GuideFieldName(guide), "is false; set it, or leave guide out");
      }
      spec = {GuideSpec::Kind::kJsonSchema, R"({"type":"object"})"};
      break;
    case v1::Guide::kRegex:
      spec = {GuideSpec::Kind::kRegex, guide.regex()};
      break;
    case v1::Guide::kGrammar:
      spec = {GuideSpec::Kind::kLark, guide.grammar()};
      break;
    case v1::Guide::kChoice:
      if (absl::Status status = CheckChoices(guide.choice()); !status.ok()) return status;
      spec = {GuideSpec::Kind::kChoice,
              nlohmann::json(std::vector<std::string>(guide.choice().choices().begin(),
                                                      guide.choice().choices().end()))
                  .dump()};
      break;
    case v1::Guide::GUIDE_NOT_SET:
      return InvalidField(
          "guide", "is empty; set exactly one of json_schema, json_object, regex, grammar, choice");
  }
  if (absl::Status status = CheckSize(guide, spec); !status.ok()) return status;
  return spec;
}

absl::Status NameGuideField(absl::string_view field, absl::Status status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return InvalidField(field, absl::StrCat("cannot be carried out: ", status.message()));
}

}  // namespace lockstep::server
