// Servers for tests with real processes.
#ifndef LOCKSTEP_TESTS_INTEGRATION_REAL_SERVER_H_
#define LOCKSTEP_TESTS_INTEGRATION_REAL_SERVER_H_

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/random_checkpoint.h"
#include "tests/testing/server_process.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep {

// Long enough for a loaded machine; a test that passes waits for none of it.
inline constexpr std::chrono::seconds kPatience(60);

inline std::filesystem::path DemoModel() {
  return std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "deploy/demo_model/model";
}

inline constexpr char kLongModelConfig[] =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "vocab_size": 512, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 32768,
  "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "torch_dtype": "float32"})";

// A checkpoint without sense, with a context that no test reaches the end of.
inline const std::filesystem::path& LongModel() {
  static const testing::TemporaryDirectory directory;
  static const bool written = [] {
    testing::RandomCheckpointOptions options;
    options.config_json = kLongModelConfig;
    options.with_tokenizer = true;
    const absl::Status status = testing::WriteRandomCheckpoint(directory.path(), options);
    EXPECT_TRUE(status.ok()) << status;
    return status.ok();
  }();
  EXPECT_TRUE(written);
  return directory.path();
}

inline testing::ServerProcess::Options ServerOptions(std::vector<std::string> arguments) {
  testing::ServerProcess::Options options;
  options.binary = std::string(LOCKSTEP_BINARY_DIR) + "/lockstep-server";
  options.arguments = std::move(arguments);
  return options;
}

// Null where it does not start, which fails the test.
inline std::unique_ptr<testing::ServerProcess> StartServer(const std::filesystem::path& model,
                                                           int num_ranks,
                                                           std::vector<std::string> more = {}) {
  more.insert(more.end(), {"--model", model.string(), "--tensor-parallel-size",
                           absl::StrCat(num_ranks), "--threads-per-rank", "1"});
  auto server = testing::ServerProcess::Start(ServerOptions(std::move(more)), kPatience);
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

}  // namespace lockstep

#endif  // LOCKSTEP_TESTS_INTEGRATION_REAL_SERVER_H_
