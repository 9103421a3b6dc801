#include "server/app/checked_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_checkpoint.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A checkpoint of 64 positions whose config.json has these fields too, as it would be served.
absl::StatusOr<CheckedModel> Check(const std::string& fields, int max_model_len,
                                   const std::string& dtype,
                                   testing::StoredHead tied_head = testing::StoredHead::kNot) {
  const testing::TemporaryDirectory directory;
  testing::RandomCheckpointOptions checkpoint;
  checkpoint.config_json = absl::StrCat(
      R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 16, "intermediate_size": 24,)",
      R"( "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32,)",
      R"( "max_position_embeddings": 64, )", fields, "}");
  checkpoint.tied_head = tied_head;
  absl::Status status = testing::WriteRandomCheckpoint(directory.path(), checkpoint);
  if (!status.ok()) return status;
  ServerOptions options;
  options.model_dir = directory.path();
  options.tensor_parallel_size = 1;
  options.max_model_len = max_model_len;
  options.dtype = dtype;
  return CheckModel(options);
}

// The context with such a "rope_scaling" and --max-model-len; or the error.
absl::StatusOr<int32_t> ContextOf(const std::string& rope, int max_model_len) {
  const auto model = Check(absl::StrCat(R"("rope_scaling": )", rope), max_model_len, "auto");
  if (!model.ok()) return model.status();
  return model->max_model_len;
}

std::string Refusal(const std::string& rope, int max_model_len) {
  const absl::StatusOr<int32_t> context = ContextOf(rope, max_model_len);
  EXPECT_EQ(context.status().code(), absl::StatusCode::kInvalidArgument) << context.status();
  return std::string(context.status().message());
}

constexpr char kDynamic[] = R"({"type": "dynamic", "factor": 2.0})";
constexpr char kLinear[] = R"({"type": "linear", "factor": 2.0})";
// The stored 64 are the original context, and the extended one.
constexpr char kYarn[] = R"({"type": "yarn", "factor": 2.0})";
constexpr char kExtendedYarn[] =
    R"({"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32})";
constexpr char kLlama3[] = R"({"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0,
  "high_freq_factor": 4.0, "original_max_position_embeddings": 64})";

TEST(CheckedModelTest, TheContextIsTheStoredOne) {
  for (const char* rope : {"null", kLinear, kDynamic, kYarn, kExtendedYarn, kLlama3}) {
    EXPECT_EQ(ContextOf(rope, 0).value_or(-1), 64) << rope;
    EXPECT_EQ(ContextOf(rope, 40).value_or(-1), 40) << rope;
  }
}

TEST(CheckedModelTest, RopeThatExtendsTheStoredContextMayBeAskedForMore) {
  const std::pair<const char*, std::string> kExtending[] = {
      {kLinear, "linear"}, {kDynamic, "dynamic"}, {kYarn, "yarn"}};
  for (const auto& [rope, name] : kExtending) {
    EXPECT_EQ(ContextOf(rope, 128).value_or(-1), 128) << rope;
    EXPECT_EQ(Refusal(rope, 129),
              absl::StrCat("--max-model-len is 129, and the checkpoint's max_position_embeddings "
                           "64, with the factor of its ",
                           name, " RoPE 128: lower it"));
  }
}

TEST(CheckedModelTest, AnExtendedContextThatIsStoredIsTheLongest) {
  for (const char* rope : {"null", kExtendedYarn, kLlama3}) {
    EXPECT_EQ(Refusal(rope, 65),
              "--max-model-len is 65, and the checkpoint's max_position_embeddings 64: lower it");
  }
}

TEST(CheckedModelTest, SaysWhatBecameOfATiedHeadThatIsStored) {
  const std::string fields = R"("tie_word_embeddings": true)";
  const auto tied = Check(fields, 0, "auto");
  EXPECT_TRUE(tied->config.tie_word_embeddings);
  EXPECT_THAT(tied->notes, IsEmpty());
  EXPECT_THAT(tied->warnings, IsEmpty());
  const auto own = Check(fields, 0, "auto", testing::StoredHead::kOwn);
  EXPECT_FALSE(own->config.tie_word_embeddings);
  EXPECT_GT(own->num_weight_bytes, tied->num_weight_bytes);
  EXPECT_THAT(own->warnings, ElementsAre(HasSubstr("lm_head.weight differs")));
  const auto alone = Check(fields, 0, "auto", testing::StoredHead::kAlone);
  EXPECT_TRUE(alone->config.tie_word_embeddings);
  EXPECT_EQ(alone->num_weight_bytes, tied->num_weight_bytes);
  EXPECT_THAT(alone->notes, ElementsAre(HasSubstr("lm_head.weight alone")));
}

TEST(CheckedModelTest, ADtypeThatIsNotComputedInIsNamedAndTheStoredOneTaken) {
  const std::string fields = R"("torch_dtype": "float8_e4m3fn")";
  const auto model = Check(fields, 0, "auto");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->dtype, "float32");
  ASSERT_EQ(model->warnings.size(), 1);
  EXPECT_THAT(model->warnings[0], HasSubstr("'float8_e4m3fn'"));
  EXPECT_TRUE(Check(fields, 0, "bfloat16")->warnings.empty()) << "asked for";
  for (const char* silent : {R"("dtype": "auto")", R"("dtype": "bfloat16")", R"("dtype": null)"}) {
    EXPECT_TRUE(Check(silent, 0, "auto")->warnings.empty()) << silent;
  }
}

TEST(CheckedModelTest, AnEntryOfTheCacheSaysWhereItsCheckpointsAre) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path revision = directory.path() / "snapshots/0123abc";
  std::filesystem::create_directories(revision);
  std::ofstream(revision / "config.json") << "{}";
  ServerOptions options;
  options.model_dir = directory.path();
  EXPECT_THAT(std::string(CheckModel(options).status().message()),
              AllOf(HasSubstr("Hugging Face's cache"), HasSubstr(revision.string())));
}

}  // namespace
}  // namespace lockstep::server
