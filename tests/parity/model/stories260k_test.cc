// Real weights from outside: stories260K must tell the story that its README prints.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/parity/model/rank_threads.h"
#include "tests/parity/model/sequence_runner.h"

namespace lockstep::testing {
namespace {

const std::filesystem::path kModelDir =
    std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "../shared/models/stories260k";

constexpr char kStory[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. "
    "She said, \"I want to play with your ball, but I can't find it.\"\n"
    "Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to "
    "do.\"\n"
    "Lily didn't want to help her mom, so she";

void ReplaceAll(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Enough of a SentencePiece-style decoder for this vocabulary: pieces, "▁" for a space, <0xXX>
// bytes.
std::string Decode(const std::vector<int32_t>& ids) {
  std::ifstream file(kModelDir / "tokenizer.json");
  const nlohmann::json tokenizer = nlohmann::json::parse(file);
  std::vector<std::string> pieces(512);
  for (const auto& [piece, id] : tokenizer.at("model").at("vocab").items()) {
    pieces.at(id.get<size_t>()) = piece;
  }
  std::string text;
  for (const int32_t id : ids) {
    std::string piece = pieces.at(static_cast<size_t>(id));
    if (piece.size() == 6 && piece.starts_with("<0x")) {
      piece = static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16));
    }
    text += piece;
  }
  ReplaceAll(text, "\u2581", " ");
  return text.substr(text.find_first_not_of(' '));
}

class Stories260kTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kModelDir / "config.json")) {
      GTEST_SKIP() << "needs " << kModelDir;
    }
  }
};

TEST_P(Stories260kTest, GreedyDecodingFromBosTellsTheReadmesStory) {
  auto ranks = RankThreads::Start(SmallWorkerConfig(kModelDir), GetParam());
  ASSERT_TRUE(ranks.ok()) << ranks.status();
  worker::SamplingParameters greedy;
  greedy.temperature = 0.0F;
  const auto answers = Generate(**ranks, {{1}}, 200, greedy, RunnerOptions());
  ASSERT_TRUE(answers.ok()) << answers.status();
  EXPECT_EQ(Decode(answers->at(0)), kStory);
}

INSTANTIATE_TEST_SUITE_P(WorldSize, Stories260kTest, ::testing::Values(1, 2, 4));

}  // namespace
}  // namespace lockstep::testing
