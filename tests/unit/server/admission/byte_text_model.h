// A text model for tests: one token per byte of UTF-8, with a chat template.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_ADMISSION_BYTE_TEXT_MODEL_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_ADMISSION_BYTE_TEXT_MODEL_H_

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/text_model.h"
#include "tests/testing/placeholder_tokenizer.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::server {

inline constexpr int32_t kByteVocabSize = 300;
inline constexpr int32_t kByteEos = 257;
inline constexpr char kByteModelConfig[] =
    R"({"vocab_size": 300, "bos_token_id": 256, "eos_token_id": 257})";

using testing::TemporaryDirectory;

// Null, with an explanation on stderr, if it cannot be made.
inline std::unique_ptr<TextModel> MakeByteTextModel(bool with_chat_template = true) {
  TemporaryDirectory directory;
  const auto status = testing::WritePlaceholderTokenizer(directory.path(), kByteModelConfig);
  if (!with_chat_template) directory.Write("tokenizer_config.json", "{}");
  auto model = TextModel::Load(directory.path());
  if (!status.ok() || !model.ok()) {
    fprintf(stderr, "no text model: %s %s\n", status.ToString().c_str(),
            model.status().ToString().c_str());
    return nullptr;
  }
  return *std::move(model);
}

inline std::vector<int32_t> BytesAsTokens(const TextModel& text, std::string_view utf8) {
  auto ids = text.Encode(utf8, /*add_special_tokens=*/false);
  return ids.ok() ? *std::move(ids) : std::vector<int32_t>();
}

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_ADMISSION_BYTE_TEXT_MODEL_H_
