// A chat template and the variables of a request. The input: the variables' JSON, a zero byte, the
// template.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/text_model.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/placeholder_tokenizer.h"
#include "tests/testing/temporary_directory.h"

namespace {

constexpr char kConfig[] = R"({"vocab_size": 300, "bos_token_id": 256, "eos_token_id": 257})";

// As a JSON string, with what is not UTF-8 replaced.
std::string Quoted(std::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lockstep::testing::TemporaryDirectory directory;
  static const bool is_written =
      lockstep::testing::WritePlaceholderTokenizer(directory.path(), kConfig).ok();
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = std::min(input.find('\0'), input.size());
  const std::string_view source = input.substr(std::min(zero + 1, input.size()));
  directory.Write("tokenizer_config.json", "{\"chat_template\": " + Quoted(source) + "}");
  const auto model = lockstep::server::TextModel::Load(directory.path());
  if (!is_written || !model.ok()) return 0;
  const std::vector<lockstep::server::ChatMessage> messages = {{"user", "hi\xc3\xbc"},
                                                               {"assistant", "{{ x }}"}};
  (void)(*model)->ApplyChatTemplate(messages, true, input.substr(0, zero));
  return 0;
}
