#ifndef TESTS_UNIT_SERVER_TEXT_CHECKPOINT_DIRECTORY_H_
#define TESTS_UNIT_SERVER_TEXT_CHECKPOINT_DIRECTORY_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/text/text_model.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::server {

inline const std::filesystem::path kTextReference =
    std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "tests/parity/text/reference";

inline std::string ReadWholeFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A temporary checkpoint directory, gone with the object.
class CheckpointDirectory : public testing::TemporaryDirectory {
 public:
  CheckpointDirectory() = default;
  // Starts with one of the tokenizers of tests/parity/text/reference as its tokenizer.json.
  explicit CheckpointDirectory(std::string_view tokenizer) {
    std::filesystem::copy_file(kTextReference / tokenizer, path() / "tokenizer.json");
  }
};

// The text model of a directory that has to be a good one.
inline std::unique_ptr<TextModel> LoadOrDie(const CheckpointDirectory& checkpoint) {
  auto model = TextModel::Load(checkpoint.path());
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

}  // namespace lockstep::server

#endif  // TESTS_UNIT_SERVER_TEXT_CHECKPOINT_DIRECTORY_H_
