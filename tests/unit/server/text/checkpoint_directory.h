#ifndef TESTS_UNIT_SERVER_TEXT_CHECKPOINT_DIRECTORY_H_
#define TESTS_UNIT_SERVER_TEXT_CHECKPOINT_DIRECTORY_H_

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

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

}  // namespace lockstep::server

#endif  // TESTS_UNIT_SERVER_TEXT_CHECKPOINT_DIRECTORY_H_
