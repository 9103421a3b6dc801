#include "worker/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "tests/testing/random_checkpoint.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::worker {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 16,
  "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
  "vocab_size": 32, "torch_dtype": "float32"})";

class CheckpointTest : public ::testing::Test {
 protected:
  // Writes a checkpoint of kConfig with `changes`.
  void Write(int num_shards = 1, const nlohmann::json& changes = nlohmann::json::object(),
             testing::StoredHead tied_head = testing::StoredHead::kNot) {
    nlohmann::json json = nlohmann::json::parse(kConfig);
    json.update(changes);
    testing::RandomCheckpointOptions options;
    options.config_json = json.dump();
    options.num_shards = num_shards;
    options.tied_head = tied_head;
    ASSERT_TRUE(testing::WriteRandomCheckpoint(directory_, options).ok());
  }

  absl::Status Open(const nlohmann::json& changes = nlohmann::json::object()) {
    LlamaConfig config = Config(changes);
    return Checkpoint::Open(directory_, config).status();
  }

  static LlamaConfig Config(const nlohmann::json& changes) {
    nlohmann::json json = nlohmann::json::parse(kConfig);
    json.update(changes);
    auto config = ParseLlamaConfig(json.dump(), "config.json");
    EXPECT_TRUE(config.ok()) << config.status();
    return *config;
  }

  // Opens what was written with kTied.
  absl::StatusOr<Checkpoint> OpenTied(std::optional<bool> is_tied = std::nullopt) {
    config_ = Config(kTied);
    return Checkpoint::Open(directory_, config_, is_tied);
  }

  // The last tensor, the head, gets the bytes of the first one, the embedding.
  void CopyEmbeddingToHead() {
    std::fstream file(directory_ / "model.safetensors",
                      std::ios::binary | std::ios::in | std::ios::out);
    uint64_t header_size = 0;
    file.read(reinterpret_cast<char*>(&header_size), sizeof(header_size));
    std::string values(kEmbeddingBytes, ' ');
    file.seekg(static_cast<std::streamoff>(sizeof(header_size) + header_size));
    file.read(values.data(), kEmbeddingBytes);
    file.seekp(-kEmbeddingBytes, std::ios::end);
    file.write(values.data(), kEmbeddingBytes);
    ASSERT_TRUE(file.flush());
  }

  std::string Error(const nlohmann::json& changes = nlohmann::json::object()) {
    const absl::Status status = Open(changes);
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  }

  // Replaces text in a file by text of the same length.
  void Edit(const std::string& name, const std::string& from, const std::string& to) {
    std::ifstream in(directory_ / name, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const size_t at = bytes.find(from);
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at, from.size(), to);
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
  }

  static constexpr std::streamoff kEmbeddingBytes = 32 * 16 * sizeof(float);
  const nlohmann::json kTied = {{"tie_word_embeddings", true}};
  LlamaConfig config_;  // as OpenTied left it
  const testing::TemporaryDirectory temporary_;
  const fs::path directory_ = temporary_.path() / "model";
};

constexpr char kSingle[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kSecondShard[] = "model-00002-of-00003.safetensors";

TEST_F(CheckpointTest, OpensASingleFileAndShards) {
  Write();
  EXPECT_TRUE(Open().ok());
  fs::remove_all(directory_);
  Write(3);
  EXPECT_TRUE(Open().ok());
}

TEST_F(CheckpointTest, NamesATensorThatIsMissing) {
  Write();
  EXPECT_THAT(Error({{"num_hidden_layers", 3}}),
              AllOf(HasSubstr(kSingle), HasSubstr("model.layers.2."), HasSubstr("missing")));
  EXPECT_THAT(Error({{"attention_bias", true}}), HasSubstr("q_proj.bias"));
}

TEST_F(CheckpointTest, SaysWhenAnUntiedHeadIsMissing) {
  Write(1, {{"tie_word_embeddings", true}});
  EXPECT_TRUE(Open({{"tie_word_embeddings", true}}).ok());
  EXPECT_THAT(Error(), AllOf(HasSubstr("lm_head.weight"), HasSubstr("tie_word_embeddings")));
}

TEST_F(CheckpointTest, NamesATensorThatIsSuperfluous) {
  Write();
  EXPECT_THAT(Error({{"num_hidden_layers", 1}}),
              AllOf(HasSubstr(kSingle), HasSubstr("model.layers.1."), HasSubstr("not belong")));
  Write(1, {{"mlp_bias", true}});
  EXPECT_THAT(Error(), HasSubstr("mlp.down_proj.bias"));
}

TEST_F(CheckpointTest, AHeadThatDiffersFromTheEmbeddingIsNotTied) {
  for (const int num_shards : {1, 3}) {
    Write(num_shards, kTied, testing::StoredHead::kOwn);
    const auto checkpoint = OpenTied();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->tied_head(), TiedHead::kDifferent);
    EXPECT_FALSE(config_.tie_word_embeddings);
    EXPECT_EQ(ExpectedTensors(config_).back().name, "lm_head.weight");
    const int64_t num_bytes = checkpoint->num_bytes();
    fs::remove_all(directory_);
    Write(num_shards, kTied);
    EXPECT_EQ(num_bytes, OpenTied()->num_bytes() + kEmbeddingBytes);
    EXPECT_TRUE(config_.tie_word_embeddings);
    fs::remove_all(directory_);
  }
}

TEST_F(CheckpointTest, AHeadThatEqualsTheEmbeddingIsTied) {
  Write(1, kTied, testing::StoredHead::kOwn);
  CopyEmbeddingToHead();
  const auto checkpoint = OpenTied();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tied_head(), TiedHead::kEqual);
  EXPECT_TRUE(config_.tie_word_embeddings);
  // To the last element.
  std::fstream file(directory_ / kSingle, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(-1, std::ios::end);
  file.put('x').flush();
  EXPECT_EQ(OpenTied()->tied_head(), TiedHead::kDifferent);
}

TEST_F(CheckpointTest, WhatWasFoundOfTheHeadIsNotLookedForAgain) {
  Write(1, kTied, testing::StoredHead::kOwn);
  EXPECT_EQ(OpenTied(true)->tied_head(), TiedHead::kEqual);
  EXPECT_TRUE(config_.tie_word_embeddings);
  CopyEmbeddingToHead();
  EXPECT_EQ(OpenTied(false)->tied_head(), TiedHead::kDifferent);
  EXPECT_FALSE(config_.tie_word_embeddings);
}

TEST_F(CheckpointTest, TheHeadOfATiedModelIsCheckedToo) {
  Write(1, kTied, testing::StoredHead::kOwn);
  Edit(kSingle, R"("lm_head.weight":{"dtype":"F32","shape":[32,16])",
       R"("lm_head.weight":{"dtype":"F32","shape":[16,32])");
  EXPECT_THAT(Error(kTied), AllOf(HasSubstr("lm_head.weight"), HasSubstr("[16, 32]")));
  Edit(kSingle, R"("lm_head.weight":{"dtype":"F32","shape":[16,32])",
       R"("lm_head.weight":{"dtype":"I32","shape":[32,16])");
  EXPECT_THAT(Error(kTied), AllOf(HasSubstr("lm_head.weight"), HasSubstr("stored as I32")));
}

TEST_F(CheckpointTest, AHeadWithoutAnEmbeddingIsBoth) {
  for (const int num_shards : {1, 3}) {
    Write(num_shards, kTied, testing::StoredHead::kAlone);
    const auto checkpoint = OpenTied();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->tied_head(), TiedHead::kAlone);
    EXPECT_TRUE(config_.tie_word_embeddings);
    EXPECT_EQ(checkpoint->tensor("model.embed_tokens.weight").num_bytes, kEmbeddingBytes);
    fs::remove_all(directory_);
  }
}

TEST_F(CheckpointTest, IgnoresRotaryBuffers) {
  Write(1, {{"attention_bias", true}});
  for (const char* layer : {"0", "1"}) {
    for (const char* projection : {"q", "k", "v", "o"}) {
      const std::string name =
          std::string("model.layers.") + layer + ".self_attn." + projection + "_proj.bias";
      std::string buffer = "rotary_emb.inv_freq";
      buffer.insert(0, std::string(layer) + projection);
      buffer.insert(0, name.size() - buffer.size(), 'x');
      Edit(kSingle, name, buffer);
    }
  }
  EXPECT_TRUE(Open().ok()) << Open();
}

TEST_F(CheckpointTest, NamesATensorOfAnotherShape) {
  Write();
  EXPECT_THAT(Error({{"vocab_size", 31}}),
              AllOf(HasSubstr("embed_tokens"), HasSubstr("[32, 16]"), HasSubstr("[31, 16]")));
}

TEST_F(CheckpointTest, NamesATensorOfAnotherType) {
  Write();
  Edit(kSingle, "F32", "I32");
  EXPECT_THAT(Error(), AllOf(HasSubstr("stored as I32"), HasSubstr(kSingle)));
}

TEST_F(CheckpointTest, NamesAFileThatIsCutShort) {
  Write(3);
  fs::resize_file(directory_ / kSecondShard, fs::file_size(directory_ / kSecondShard) - 1);
  EXPECT_THAT(Error(), AllOf(HasSubstr(kSecondShard), HasSubstr("truncated")));
}

TEST_F(CheckpointTest, NamesAShardThatIsMissing) {
  Write(3);
  fs::remove(directory_ / kSecondShard);
  EXPECT_THAT(Error(), AllOf(HasSubstr(kSecondShard), HasSubstr("missing")));
}

TEST_F(CheckpointTest, NamesAnIndexEntryThatIsNotInItsShard) {
  Write(3);
  Edit(kIndex, "\"lm_head.weight\": \"model-00003", "\"lm_head.weight\": \"model-00001");
  EXPECT_THAT(Error(), AllOf(HasSubstr(kIndex), HasSubstr("lm_head.weight")));
}

TEST_F(CheckpointTest, AnIndexMayNameABufferThatNobodyReads) {
  Write(3);
  nlohmann::json index = nlohmann::json::parse(std::ifstream(directory_ / kIndex));
  index["weight_map"]["model.layers.0.self_attn.rotary_emb.inv_freq"] = kSecondShard;
  std::ofstream(directory_ / kIndex) << index;
  EXPECT_TRUE(Open().ok()) << Open();
}

TEST_F(CheckpointTest, RefusesABrokenIndexAndPathsOutOfTheDirectory) {
  Write(3);
  for (const char* text :
       {"", "{", "[]", "{}", R"({"weight_map": []})", R"({"weight_map": {}})",
        R"({"weight_map": {"a": 3}})", R"({"weight_map": {"a": "../model.safetensors"}})",
        R"({"weight_map": {"a": "/etc/passwd"}})", R"({"weight_map": {"a": ""}})"}) {
    std::ofstream(directory_ / kIndex) << text;
    EXPECT_EQ(Open().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST_F(CheckpointTest, RefusesAnIndexThatNestsAbsurdly) {
  Write(3);
  std::ofstream(directory_ / kIndex) << R"({"weight_map": {"a": )" << std::string(100'000, '[')
                                     << std::string(100'000, ']') << "}}";
  EXPECT_THAT(Error(), AllOf(HasSubstr(kIndex), HasSubstr("the limit is 100")));
}

TEST_F(CheckpointTest, NamesALinkToNowhere) {
  for (const char* name : {kSecondShard, kIndex}) {
    Write(3);
    fs::remove(directory_ / name);
    fs::create_symlink("../blobs/gone", directory_ / name);
    EXPECT_THAT(Error(), AllOf(HasSubstr(name), HasSubstr("download")));
    fs::remove_all(directory_);
  }
  Write();
  fs::remove(directory_ / kSingle);
  fs::create_symlink("../blobs/gone", directory_ / kSingle);
  EXPECT_THAT(Error(), AllOf(HasSubstr(kSingle), HasSubstr("../blobs/gone")));
}

TEST_F(CheckpointTest, DoesNotWaitForTheWriterOfAPipe) {
  for (const char* name : {kSingle, kIndex}) {
    Write(name == kIndex ? 3 : 1);
    fs::remove(directory_ / name);
    ASSERT_EQ(mkfifo((directory_ / name).c_str(), 0600), 0);
    EXPECT_THAT(Error(), AllOf(HasSubstr(name), HasSubstr("not a regular file")));
    fs::remove_all(directory_);
  }
}

TEST_F(CheckpointTest, SaysWhatIsThereWhenThereAreNoWeights) {
  Write(3);
  fs::remove(directory_ / kIndex);
  EXPECT_THAT(Error(), HasSubstr("index"));
  for (const auto& entry : fs::directory_iterator(directory_)) fs::remove(entry);
  EXPECT_THAT(Error(), HasSubstr("neither"));
  std::ofstream(directory_ / "pytorch_model.bin") << "x";
  EXPECT_THAT(Error(), HasSubstr("pytorch_model.bin"));
}

}  // namespace
}  // namespace lockstep::worker
