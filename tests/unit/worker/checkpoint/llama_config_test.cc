#include "worker/checkpoint/llama_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/testing/temporary_directory.h"

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

Json Minimal() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"intermediate_size", 128},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"vocab_size", 100}};
}

LlamaConfig Parse(const Json& json) {
  const auto config = ParseLlamaConfig(json.dump(), "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : LlamaConfig();
}

std::string ErrorOf(const Json& json) {
  const auto config = ParseLlamaConfig(json.dump(), "config.json");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << json;
  return std::string(config.status().message());
}

// The error when one field of a good configuration is changed; it must name field and value.
void ExpectRefused(const char* field, const Json& value) {
  Json json = Minimal();
  json[field] = value;
  EXPECT_THAT(ErrorOf(json), AllOf(HasSubstr("config.json"), HasSubstr(field)))
      << field << " = " << value;
}

TEST(LlamaConfigTest, AbsentAndNullFieldsHaveTheReferencesDefaults) {
  Json with_nulls = Minimal();
  for (const char* field : {"num_key_value_heads", "head_dim", "rope_scaling", "rms_norm_eps",
                            "max_position_embeddings", "eos_token_id", "tie_word_embeddings"}) {
    with_nulls[field] = nullptr;
  }
  for (const Json& json : {Minimal(), with_nulls}) {
    const LlamaConfig config = Parse(json);
    EXPECT_EQ(config.num_key_value_heads, 4);
    EXPECT_EQ(config.head_dim, 16);
    EXPECT_EQ(config.max_position_embeddings, 2048);
    EXPECT_EQ(config.rms_norm_eps, 1e-6);
    EXPECT_FALSE(config.tie_word_embeddings);
    EXPECT_FALSE(config.attention_bias);
    EXPECT_EQ(config.rope.type, RopeType::kDefault);
    EXPECT_EQ(config.rope.theta, 10000.0);
    EXPECT_FALSE(config.bos_token_id.has_value());
    EXPECT_TRUE(config.eos_token_ids.empty());
  }
}

TEST(LlamaConfigTest, ReadsLlama31AsPublished) {
  Json json = Minimal();
  json["rope_theta"] = 500000.0;
  json["rope_scaling"] = {{"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 8192},
                          {"rope_type", "llama3"}};
  json["max_position_embeddings"] = 131072;
  json["bos_token_id"] = 10;
  json["eos_token_id"] = {11, 12, 13};
  json["torch_dtype"] = "bfloat16";
  json["pretraining_tp"] = 2;
  const LlamaConfig config = Parse(json);
  EXPECT_EQ(config.rope.type, RopeType::kLlama3);
  EXPECT_EQ(config.rope.theta, 500000.0);
  EXPECT_EQ(config.rope.factor, 8.0);
  EXPECT_EQ(config.rope.high_freq_factor, 4.0);
  EXPECT_EQ(config.rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(config.bos_token_id, 10);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(11, 12, 13));
  EXPECT_EQ(config.dtype, "bfloat16");
}

TEST(LlamaConfigTest, ReadsTheNewSpellingOfRopeAndItsThetaWins) {
  Json json = Minimal();
  json["rope_theta"] = 1.5;
  json["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 777.0}, {"factor", 4.0}};
  json["dtype"] = "float16";
  json["eos_token_id"] = 5;
  const LlamaConfig config = Parse(json);
  EXPECT_EQ(config.rope.type, RopeType::kYarn);
  EXPECT_EQ(config.rope.theta, 777.0);
  EXPECT_EQ(config.rope.original_max_position_embeddings, 2048);
  EXPECT_TRUE(config.rope.truncate);
  EXPECT_EQ(config.dtype, "float16");
  EXPECT_THAT(config.eos_token_ids, ElementsAre(5));
}

TEST(LlamaConfigTest, ANullThatStopsYarnFromTruncatingIsFalseAsInTransformers) {
  Json json = Minimal();
  json["rope_parameters"] = {{"rope_type", "yarn"}, {"factor", 4.0}, {"truncate", nullptr}};
  EXPECT_FALSE(Parse(json).rope.truncate);
}

// For the heads of Minimal(), of 16 features.
Json LongRope() {
  return {{"rope_type", "longrope"},
          {"short_factor", {1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.5}},
          {"long_factor", {1, 2, 3, 4, 5, 6, 7, 8}},
          {"original_max_position_embeddings", 512}};
}

TEST(LlamaConfigTest, ReadsLongRope) {
  Json json = Minimal();
  json["rope_parameters"] = LongRope();
  const LlamaConfig config = Parse(json);
  EXPECT_EQ(config.rope.type, RopeType::kLongRope);
  EXPECT_EQ(config.rope.factor, 4.0) << "the ratio of the contexts";
  EXPECT_EQ(config.rope.short_factor.back(), 1.5);
  EXPECT_THAT(config.rope.long_factor, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_FALSE(config.rope.attention_factor.has_value());
  EXPECT_EQ(LongestWithBaseRope(config), 512);
  json["rope_parameters"]["factor"] = 3.0;
  json["rope_parameters"]["attention_factor"] = 1.25;
  EXPECT_EQ(Parse(json).rope.factor, 3.0);
  EXPECT_EQ(Parse(json).rope.attention_factor, 1.25);
}

TEST(LlamaConfigTest, RefusesLongRopeWithoutAFactorForEachFrequency) {
  for (const char* field : {"short_factor", "long_factor"}) {
    for (const Json& value : {Json(), Json(2.0), Json::array(), Json{1, 2, 3, 4, 5, 6, 7},
                              Json{1, 2, 3, 4, 5, 6, 7, 0}, Json{1, 2, 3, -4, 5, 6, 7, 8},
                              Json{1, 2, 3, 4, 5, 6, 7, "8"}, Json{1, 2, 3, 4, 5, 6, 7, 8, 9}}) {
      Json json = Minimal();
      json["rope_scaling"] = LongRope();
      json["rope_scaling"][field] = value;
      EXPECT_THAT(ErrorOf(json), AllOf(HasSubstr(field), HasSubstr("a list of 8 numbers")));
    }
  }
  Json json = Minimal();
  json["rope_scaling"] = LongRope();
  json["rope_scaling"]["original_max_position_embeddings"] = 1;
  EXPECT_THAT(ErrorOf(json), HasSubstr("original_max_position_embeddings"));
}

TEST(LlamaConfigTest, SaysUpToWhichLengthFrequenciesAreTheSame) {
  Json json = Minimal();
  EXPECT_EQ(LongestWithBaseRope(Parse(json)), std::nullopt);
  json["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  EXPECT_EQ(LongestWithBaseRope(Parse(json)), 2048);
}

TEST(LlamaConfigTest, AModelTypeStandsInForMissingArchitectures) {
  Json json = Minimal();
  json.erase("architectures");
  EXPECT_THAT(ErrorOf(json), HasSubstr("model_type"));
  json["model_type"] = "llama";
  Parse(json);
}

TEST(LlamaConfigTest, NamesTheArchitectureThatItFound) {
  Json json = Minimal();
  json["architectures"] = {"MistralForCausalLM"};
  EXPECT_THAT(ErrorOf(json), AllOf(HasSubstr("MistralForCausalLM"), HasSubstr("LlamaForCausalLM")));
}

TEST(LlamaConfigTest, RefusesWhatWouldChangeTheAnswers) {
  ExpectRefused("hidden_act", "gelu");
  ExpectRefused("quantization_config", Json{{"quant_method", "gptq"}});
  ExpectRefused("model_type", "mistral");  // transformers would build another class
  ExpectRefused("partial_rotary_factor", 0.5);
  ExpectRefused("rope_parameters", Json{{"rope_type", "proportional"}});
}

TEST(LlamaConfigTest, AWindowHasNoEffectAsInTransformersLlama) {
  Json json = Minimal();
  json["sliding_window"] = 512;
  Parse(json);
}

TEST(LlamaConfigTest, RefusesFieldsOfTheWrongTypeOrOutOfRange) {
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "vocab_size", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const Json& value : {Json(0), Json(-8), Json(1.5), Json("64"), Json(true), Json(1e300),
                              Json::array(), Json(uint64_t{1} << 63)}) {
      ExpectRefused(field, value);
    }
  }
  ExpectRefused("rms_norm_eps", -1e-5);
  ExpectRefused("rms_norm_eps", "small");
  ExpectRefused("rope_theta", 0);
  ExpectRefused("rope_theta", -10000.0);
  ExpectRefused("tie_word_embeddings", 1);
  ExpectRefused("attention_bias", "no");
  ExpectRefused("eos_token_id", -1);
  ExpectRefused("eos_token_id", Json{1, "two"});
  ExpectRefused("torch_dtype", 16);
  ExpectRefused("architectures", "LlamaForCausalLM");
  ExpectRefused("rope_scaling", "linear");
  ExpectRefused("rope_scaling", Json{{"type", "linear"}});
  ExpectRefused("rope_scaling", Json{{"type", "linear"}, {"factor", -1}});
  ExpectRefused("rope_scaling", Json{{"type", 3}});
  ExpectRefused("rope_scaling", Json{{"rope_type", "llama3"}, {"factor", 8.0}});
}

TEST(LlamaConfigTest, RefusesHeadsThatDoNotFitTogether) {
  ExpectRefused("num_key_value_heads", 3);
  ExpectRefused("num_attention_heads", 5);
  ExpectRefused("head_dim", 15);
  ExpectRefused("head_dim", 512);
}

TEST(LlamaConfigTest, RefusesMissingSizesAndBrokenJson) {
  for (const char* field : {"hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "vocab_size"}) {
    Json json = Minimal();
    json.erase(field);
    EXPECT_THAT(ErrorOf(json), AllOf(HasSubstr(field), HasSubstr("missing")));
  }
  for (const char* text : {"", "{", "[1, 2]", "null", "{\"hidden_size\": NaN}", "\xff\xfe"}) {
    EXPECT_EQ(ParseLlamaConfig(text, "config.json").status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(LlamaConfigTest, RefusesJsonThatNestsAbsurdly) {
  const std::string lists = std::string(100'000, '[') + std::string(100'000, ']');
  for (const std::string& text :
       {lists, "{\"eos_token_id\": " + lists + "}", "{\"hidden_size\": " + lists + "}",
        "{\"rope_scaling\": {\"factor\": " + lists + "}}", std::string(100'000, '{')}) {
    EXPECT_THAT(std::string(ParseLlamaConfig(text, "config.json").status().message()),
                AllOf(StartsWith("config.json"), HasSubstr("deep; the limit is 100")));
  }
  // Brackets in a text nest nothing, an escaped quotation mark does not end it.
  Json json = Minimal();
  json["comment"] = "\"" + std::string(1000, '[');
  Parse(json);
}

TEST(LlamaConfigTest, SaysWhichDirectoryOrFileIsMissing) {
  const auto missing = LoadLlamaConfig("/nonexistent/model");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/nonexistent/model"));
  const testing::TemporaryDirectory empty;
  const auto no_config = LoadLlamaConfig(empty.path());
  EXPECT_EQ(no_config.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(no_config.status().message()), HasSubstr("config.json"));
}

TEST(LlamaConfigTest, DoesNotWaitForTheWriterOfAPipe) {
  const testing::TemporaryDirectory directory;
  ASSERT_EQ(mkfifo((directory.path() / "config.json").c_str(), 0600), 0);
  EXPECT_THAT(std::string(LoadLlamaConfig(directory.path()).status().message()),
              HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace lockstep::worker
