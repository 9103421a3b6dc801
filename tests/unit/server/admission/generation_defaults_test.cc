#include "server/admission/generation_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kVocabSize = 1000;

absl::StatusOr<GenerationDefaults> Load(std::string_view generation_config,
                                        std::string_view config = "{}",
                                        std::optional<int32_t> tokenizer_eos = std::nullopt) {
  TemporaryDirectory directory;
  directory.Write("generation_config.json", generation_config);
  directory.Write("config.json", config);
  return LoadGenerationDefaults(directory.path(), kVocabSize, tokenizer_eos);
}

TEST(GenerationDefaults, AreGreedyWithoutAFile) {
  TemporaryDirectory directory;
  const auto defaults = LoadGenerationDefaults(directory.path(), kVocabSize, 7);
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_EQ(defaults->temperature, 0);
  EXPECT_EQ(defaults->top_p, 1);
  EXPECT_EQ(defaults->top_k, 0u);
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(7));
}

TEST(GenerationDefaults, SampleAsWrittenWhereDoSampleIsTrue) {
  const auto defaults =
      Load(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
               "typical_p": 0.8})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_FLOAT_EQ(defaults->temperature, 0.6);
  EXPECT_FLOAT_EQ(defaults->top_p, 0.9);
  EXPECT_EQ(defaults->top_k, 40u);
  EXPECT_FLOAT_EQ(defaults->min_p, 0.05);
  EXPECT_FLOAT_EQ(defaults->typical_p, 0.8);
  EXPECT_THAT(defaults->warnings, IsEmpty());
}

TEST(GenerationDefaults, DoSampleWithoutTemperatureIsTemperatureOne) {
  EXPECT_EQ(Load(R"({"do_sample": true})")->temperature, 1);
}

TEST(GenerationDefaults, StayGreedyWithoutDoSampleButKeepTheFiltersForRequestsThatSample) {
  const auto defaults = Load(R"({"temperature": 0.9, "top_p": 0.6})");
  EXPECT_EQ(defaults->temperature, 0);
  EXPECT_FLOAT_EQ(defaults->top_p, 0.6);
}

TEST(GenerationDefaults, TheRepetitionPenaltyHoldsForGreedyAnswersToo) {
  const auto defaults = Load(R"({"do_sample": false, "repetition_penalty": 1.1})");
  EXPECT_EQ(defaults->temperature, 0);
  EXPECT_FLOAT_EQ(defaults->repetition_penalty, 1.1);
}

TEST(GenerationDefaults, NullCountsAsAbsent) {
  const auto defaults = Load(
      R"({"do_sample": null, "temperature": null, "top_k": null, "top_p": null, "eos_token_id": null})",
      R"({"eos_token_id": 2})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(2));
}

TEST(GenerationDefaults, TakeEosFromTheFirstFileThatNamesOne) {
  EXPECT_THAT(Load(R"({"eos_token_id": [9, 8, 9]})", R"({"eos_token_id": 2})", 3)->eos_token_ids,
              ElementsAre(8, 9));
  EXPECT_THAT(Load("{}", R"({"eos_token_id": 2})", 3)->eos_token_ids, ElementsAre(2));
  EXPECT_THAT(Load("{}", "{}", 3)->eos_token_ids, ElementsAre(3));
  EXPECT_THAT(Load("{}")->eos_token_ids, IsEmpty());
}

TEST(GenerationDefaults, WarnOfEosTokensThatTheModelCannotProduce) {
  const auto defaults = Load(R"({"eos_token_id": [5, 1000, -1]})");
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(5));
  EXPECT_THAT(defaults->warnings, ElementsAre(HasSubstr("1000"), HasSubstr("-1")));
}

TEST(GenerationDefaults, WarnOfWhatIsNotApplied) {
  EXPECT_THAT(Load(R"({"num_beams": 4, "penalty_alpha": 0})")->warnings,
              ElementsAre(HasSubstr("num_beams")));
  EXPECT_THAT(Load(R"({"min_new_tokens": 5, "min_length": 0, "bad_words_ids": [[3]],
                       "forced_eos_token_id": 2, "suppress_tokens": [], "stop_strings": null})")
                  ->warnings,
              ElementsAre(HasSubstr("min_new_tokens is 5"), HasSubstr("bad_words_ids is [[3]]"),
                          HasSubstr("forced_eos_token_id is 2")));
}

TEST(GenerationDefaults, RefuseFilesThatNestAbsurdly) {
  const std::string lists = std::string(100'000, '[') + std::string(100'000, ']');
  for (const char* field : {"top_k", "eos_token_id", "bad_words_ids"}) {
    const std::string text = absl::StrCat("{\"", field, "\": ", lists, "}");
    EXPECT_THAT(std::string(Load(text).status().message()),
                AllOf(HasSubstr("generation_config.json"), HasSubstr("the limit is 100")));
  }
}

TEST(GenerationDefaults, RefuseBadFilesNamingFileAndField) {
  const std::pair<const char*, const char*> kBad[] = {
      {"{\"do_sample\": tru", "JSON"},
      {"[]", "JSON"},
      {R"({"do_sample": "yes"})", "do_sample"},
      {R"({"do_sample": true, "temperature": -1})", "temperature"},
      {R"({"temperature": "warm"})", "temperature"},
      {R"({"top_p": 0})", "top_p"},
      {R"({"top_p": 1.5})", "top_p"},
      {R"({"top_k": -2})", "top_k"},
      {R"({"top_k": 2.5})", "top_k"},
      {R"({"min_p": 2})", "min_p"},
      {R"({"typical_p": 0})", "typical_p"},
      {R"({"repetition_penalty": 0})", "repetition_penalty"},
      {R"({"eos_token_id": "</s>"})", "eos_token_id"},
      {R"({"eos_token_id": [[1]]})", "eos_token_id"},
  };
  for (const auto& [text, field] : kBad) {
    const auto defaults = Load(text);
    ASSERT_EQ(defaults.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(defaults.status().message()), HasSubstr("generation_config.json"));
    EXPECT_THAT(std::string(defaults.status().message()), HasSubstr(field));
  }
}

TEST(GenerationDefaults, ALinkToNowhereIsNotAnAbsentFile) {
  TemporaryDirectory directory;
  std::filesystem::create_symlink("../blobs/gone", directory.path() / "generation_config.json");
  const auto defaults = LoadGenerationDefaults(directory.path(), kVocabSize, std::nullopt);
  EXPECT_THAT(std::string(defaults.status().message()), HasSubstr("generation_config.json"));
}

}  // namespace
}  // namespace lockstep::server
