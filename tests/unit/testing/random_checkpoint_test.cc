#include "tests/testing/random_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kConfig[] = R"({
  "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300, "tie_word_embeddings": true,
  "bos_token_id": 0, "eos_token_id": 299})";

class RandomCheckpointTest : public ::testing::Test {
 protected:
  RandomCheckpointTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    directory_ =
        fs::temp_directory_path() / (std::string(info->name()) + "." + std::to_string(getpid()));
  }
  ~RandomCheckpointTest() override { fs::remove_all(directory_); }

  Json ReadJson(const std::string& name) const {
    std::ifstream file(directory_ / name);
    return Json::parse(file);
  }

  fs::path directory_;
};

struct ShardContent {
  Json header;
  std::string data;
};

ShardContent ReadShard(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t header_size = 0;
  file.read(reinterpret_cast<char*>(&header_size), sizeof(header_size));
  EXPECT_EQ(header_size % 8, 0u);
  std::string header(header_size, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_size));
  return {Json::parse(header), std::string(std::istreambuf_iterator<char>(file), {})};
}

// The tensor's stored elements equal the generator's.
void ExpectFloat32Values(const ShardContent& shard, const RandomTensor& tensor, uint64_t seed) {
  const Json& entry = shard.header.at(tensor.name);
  EXPECT_EQ(entry["dtype"], "F32");
  EXPECT_EQ(entry["shape"].get<std::vector<int64_t>>(), tensor.shape);
  const auto begin = entry["data_offsets"][0].get<size_t>();
  const auto end = entry["data_offsets"][1].get<size_t>();
  std::vector<float> expected(tensor.num_elements());
  FillRandomValues(tensor, seed, 0, expected);
  ASSERT_EQ(end - begin, expected.size() * sizeof(float));
  ASSERT_LE(end, shard.data.size());
  EXPECT_EQ(std::memcmp(shard.data.data() + begin, expected.data(), end - begin), 0) << tensor.name;
}

TEST_F(RandomCheckpointTest, SingleFileHoldsEveryTensorAndNothingElse) {
  ASSERT_TRUE(WriteRandomCheckpoint(directory_, {.config_json = kConfig, .seed = 3}).ok());
  EXPECT_EQ(ReadJson("config.json"), Json::parse(kConfig));
  const ShardContent shard = ReadShard(directory_ / "model.safetensors");
  const std::vector<RandomTensor> tensors = LlamaTensors(kConfig).value();
  EXPECT_EQ(shard.header.size(), tensors.size() + 1);  // and __metadata__
  int64_t num_elements = 0;
  for (const RandomTensor& tensor : tensors) {
    ExpectFloat32Values(shard, tensor, 3);
    num_elements += tensor.num_elements();
  }
  EXPECT_EQ(shard.data.size(), num_elements * sizeof(float));
}

TEST_F(RandomCheckpointTest, IndexNamesTheShardOfEveryTensor) {
  ASSERT_TRUE(
      WriteRandomCheckpoint(directory_, {.config_json = kConfig, .seed = 3, .num_shards = 3}).ok());
  EXPECT_FALSE(fs::exists(directory_ / "model.safetensors"));
  const Json index = ReadJson("model.safetensors.index.json");
  std::map<std::string, ShardContent> shards;
  int64_t total_size = 0;
  const std::vector<RandomTensor> tensors = LlamaTensors(kConfig).value();
  for (const RandomTensor& tensor : tensors) {
    const std::string name = index["weight_map"].at(tensor.name);
    if (!shards.contains(name)) shards[name] = ReadShard(directory_ / name);
    ExpectFloat32Values(shards[name], tensor, 3);
    total_size += tensor.num_elements() * 4;
  }
  EXPECT_THAT(shards, ::testing::SizeIs(3));
  EXPECT_TRUE(shards.contains("model-00003-of-00003.safetensors"));
  EXPECT_EQ(index["metadata"]["total_size"].get<int64_t>(), total_size);
}

TEST_F(RandomCheckpointTest, EveryTensorCanHaveAShardOfItsOwn) {
  const int num_tensors = static_cast<int>(LlamaTensors(kConfig).value().size());
  ASSERT_TRUE(
      WriteRandomCheckpoint(directory_, {.config_json = kConfig, .num_shards = num_tensors}).ok());
  int num_files = 0;
  for (const auto& entry : fs::directory_iterator(directory_))
    num_files += entry.path().extension() == ".safetensors";
  EXPECT_EQ(num_files, num_tensors);
}

TEST_F(RandomCheckpointTest, HalfPrecisionTakesTwoBytesPerElement) {
  for (const auto& [storage, name] :
       {std::pair(StorageType::kFloat16, "F16"), {StorageType::kBfloat16, "BF16"}}) {
    ASSERT_TRUE(
        WriteRandomCheckpoint(directory_, {.config_json = kConfig, .storage = storage}).ok());
    const ShardContent shard = ReadShard(directory_ / "model.safetensors");
    EXPECT_EQ(shard.header["model.norm.weight"]["dtype"], name);
    EXPECT_EQ(shard.header["model.norm.weight"]["data_offsets"][1].get<size_t>(),
              shard.data.size());
  }
}

TEST_F(RandomCheckpointTest, ProgressEndsAtTheTotal) {
  int64_t last_written = 0;
  int64_t last_total = -1;
  ASSERT_TRUE(WriteRandomCheckpoint(directory_, {.config_json = kConfig,
                                                 .progress =
                                                     [&](int64_t written, int64_t total) {
                                                       EXPECT_GT(written, last_written);
                                                       last_written = written;
                                                       last_total = total;
                                                     }})
                  .ok());
  EXPECT_EQ(last_written, last_total);
}

TEST_F(RandomCheckpointTest, TokenizerGivesEveryIdOneToken) {
  ASSERT_TRUE(
      WriteRandomCheckpoint(directory_, {.config_json = kConfig, .with_tokenizer = true}).ok());
  const Json vocabulary = ReadJson("tokenizer.json")["model"]["vocab"];
  std::set<int> ids;
  for (const auto& [token, id] : vocabulary.items()) ids.insert(id.get<int>());
  EXPECT_EQ(ids.size(), 300u);
  EXPECT_EQ(*ids.rbegin(), 299);
  EXPECT_EQ(vocabulary["<|end_of_text|>"], 299);
  EXPECT_EQ(vocabulary["A"], 1 + 'A');  // BOS has id 0
  EXPECT_EQ(ReadJson("generation_config.json")["eos_token_id"], 299);
}

TEST_F(RandomCheckpointTest, TokenizerForATooSmallVocabularyIsRefused) {
  Json config = Json::parse(kConfig);
  config["vocab_size"] = 128;
  const absl::Status status =
      WriteRandomCheckpoint(directory_, {.config_json = config.dump(), .with_tokenizer = true});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("vocab_size is 128"));
}

TEST_F(RandomCheckpointTest, MissingFieldAndTooManyShardsAreRefusedByName) {
  EXPECT_THAT(WriteRandomCheckpoint(directory_, {.config_json = R"({"hidden_size": 8})"}).message(),
              HasSubstr("intermediate_size"));
  EXPECT_THAT(
      WriteRandomCheckpoint(directory_, {.config_json = kConfig, .num_shards = 99}).message(),
      HasSubstr("99 shards"));
}

TEST_F(RandomCheckpointTest, PublishedShapesHaveTheirNumberOfParameters) {
  const auto count = [](const char* shape) {
    const std::string config = PublishedShapeConfig(shape, StorageType::kBfloat16).value();
    const std::vector<RandomTensor> tensors = LlamaTensors(config).value();
    int64_t total = 0;
    for (const RandomTensor& tensor : tensors) total += tensor.num_elements();
    return total;
  };
  EXPECT_EQ(count("llama-3.2-1b"), 1235814400);
  EXPECT_EQ(count("llama-3-8b"), 8030261248);
  EXPECT_FALSE(PublishedShapeConfig("llama-9", StorageType::kBfloat16).ok());
}

}  // namespace
}  // namespace lockstep::testing
