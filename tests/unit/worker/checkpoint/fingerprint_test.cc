#include "worker/checkpoint/fingerprint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "tests/testing/random_checkpoint.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::worker {
namespace {

namespace fs = std::filesystem;

// The embedding has 24 KiB, which are not read whole.
constexpr char kConfigText[] = R"({"architectures": ["LlamaForCausalLM"], "hidden_size": 64,
  "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 96,
  "tie_word_embeddings": true, "torch_dtype": "float32"})";

class FingerprintTest : public ::testing::Test {
 protected:
  static void WriteModel(const fs::path& directory, int num_shards = 1,
                         const std::string& config_json = kConfigText) {
    testing::RandomCheckpointOptions options;
    options.config_json = config_json;
    options.num_shards = num_shards;
    const absl::Status status = testing::WriteRandomCheckpoint(directory, options);
    ASSERT_TRUE(status.ok()) << status;
  }
  static uint64_t Of(const fs::path& directory) {
    auto config = LoadLlamaConfig(directory);
    EXPECT_TRUE(config.ok()) << config.status();
    const auto checkpoint = Checkpoint::Open(directory, *config);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return Fingerprint(directory, *config, *checkpoint);
  }
  // Changes a byte of the weights; `from_end` counts from the end of the file.
  static void FlipByte(const fs::path& directory, std::streamoff from_end) {
    std::fstream file(directory / "model.safetensors",
                      std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(-from_end, std::ios::end);
    const int byte = file.get();
    file.seekp(-from_end, std::ios::end);
    file.put(static_cast<char>(byte ^ 1));
    ASSERT_TRUE(file.flush());
  }

  const testing::TemporaryDirectory temporary_;
  const fs::path directory_ = temporary_.path() / "model";
  const fs::path other_ = temporary_.path() / "other";
};

TEST_F(FingerprintTest, CopiesHaveTheSameAlsoInOtherShards) {
  WriteModel(directory_);
  const uint64_t fingerprint = Of(directory_);
  EXPECT_NE(fingerprint, 0U);
  fs::copy(directory_, other_);
  EXPECT_EQ(Of(other_), fingerprint);
  fs::remove_all(other_);
  WriteModel(other_, 3);
  EXPECT_EQ(Of(other_), fingerprint);
}

TEST_F(FingerprintTest, AnotherWeightOrConfigurationChangesIt) {
  WriteModel(directory_);
  std::set<uint64_t> seen = {Of(directory_)};
  // The last tensor is a norm of 64 weights; before it come the last layer's.
  for (const std::streamoff from_end : {1, 256, 257}) {
    FlipByte(directory_, from_end);
    EXPECT_TRUE(seen.insert(Of(directory_)).second) << "byte " << from_end << " from the end";
  }
  WriteModel(other_);
  std::string config(kConfigText);
  config.back() = ',';
  std::ofstream(other_ / "config.json") << config << R"("rope_theta": 20000.0})";
  EXPECT_TRUE(seen.insert(Of(other_)).second) << "the same weights, rotated otherwise";
}

TEST_F(FingerprintTest, SeesTheMiddleOfALargeTensor) {
  WriteModel(directory_);
  const uint64_t before = Of(directory_);
  auto config = LoadLlamaConfig(directory_);
  const auto checkpoint = Checkpoint::Open(directory_, *config);
  const StoredTensor& embedding = checkpoint->tensor("model.embed_tokens.weight");
  ASSERT_EQ(embedding.num_bytes, 24U << 10);
  // Of all tensors, by the layout of the file: the embedding comes first.
  FlipByte(directory_, checkpoint->num_bytes() - (12 << 10));
  EXPECT_NE(Of(directory_), before);
}

}  // namespace
}  // namespace lockstep::worker
