// tokenizer.json, and tokenizer_config.json beside one that is good: the first byte says which.
#include <string>
#include <string_view>
#include <vector>

#include "server/text/text_model.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/placeholder_tokenizer.h"
#include "tests/testing/temporary_directory.h"

namespace {

constexpr char kConfig[] = R"({"vocab_size": 300, "bos_token_id": 256, "eos_token_id": 257})";

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const lockstep::testing::TemporaryDirectory directory;
  if (size == 0) return 0;
  if (!lockstep::testing::WritePlaceholderTokenizer(directory.path(), kConfig).ok()) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  directory.Write(data[0] == 't' ? "tokenizer.json" : "tokenizer_config.json", text);
  const auto model = lockstep::server::TextModel::Load(directory.path());
  if (!model.ok()) return 0;
  const auto ids = (*model)->Encode("Grüße an 42 Leute\n", true);
  if (ids.ok()) (void)(*model)->Decode(*ids, false);
  (void)(*model)->Decode(std::vector<int32_t>{-1, 0, 299, 1 << 30}, true);
  return 0;
}
