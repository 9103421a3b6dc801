#ifndef LOCKSTEP_TESTS_UNIT_WORKER_RUNTIME_SMALL_MODEL_H_
#define LOCKSTEP_TESTS_UNIT_WORKER_RUNTIME_SMALL_MODEL_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_checkpoint.h"

namespace lockstep::worker {

inline constexpr char kSmallConfig[] = R"({"architectures": ["LlamaForCausalLM"],
  "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 256})";

// A directory with a small random model, removed with the object.
class SmallModel {
 public:
  explicit SmallModel(const std::string& config_json = kSmallConfig) {
    testing::RandomCheckpointOptions options;
    options.config_json = config_json;
    options.seed = 7;
    EXPECT_TRUE(testing::WriteRandomCheckpoint(directory_, options).ok());
  }
  ~SmallModel() { std::filesystem::remove_all(directory_); }
  SmallModel(const SmallModel&) = delete;
  SmallModel& operator=(const SmallModel&) = delete;

  const std::filesystem::path& directory() const { return directory_; }

 private:
  const std::filesystem::path directory_ =
      std::filesystem::path(::testing::TempDir()) /
      absl::StrCat("small-model-", getpid(), "-",
                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
};

}  // namespace lockstep::worker

#endif  // LOCKSTEP_TESTS_UNIT_WORKER_RUNTIME_SMALL_MODEL_H_
