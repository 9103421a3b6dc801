// A guide, and an answer that follows it. The input: a digit for the kind of guide, then its text.
// The tokens are drawn with numbers made from the text.
#include <string>
#include <string_view>
#include <vector>

#include "server/text/guide.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/testing/placeholder_tokenizer.h"
#include "tests/testing/temporary_directory.h"

namespace {

using lockstep::server::GuideCompiler;
using lockstep::server::GuideSpec;
using lockstep::server::TextModel;

constexpr char kConfig[] = R"({"vocab_size": 300, "bos_token_id": 256, "eos_token_id": 257})";
constexpr int kVocabSize = 300;
constexpr int kMaxTokens = 20;

const GuideCompiler* MakeCompiler() {
  const lockstep::testing::TemporaryDirectory directory;
  if (!lockstep::testing::WritePlaceholderTokenizer(directory.path(), kConfig).ok()) return nullptr;
  static const auto kText = TextModel::Load(directory.path());
  static const auto kCompiler =
      GuideCompiler::Create(**kText, kVocabSize, std::vector<int32_t>{257});
  return kCompiler.ok() ? &*kCompiler : nullptr;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const GuideCompiler* const kCompiler = MakeCompiler();
  if (kCompiler == nullptr) __builtin_trap();
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto guide = kCompiler->Compile({static_cast<GuideSpec::Kind>(data[0] % 4), text});
  if (!guide.ok()) return 0;
  auto state = (*guide)->Start();
  if (!state.ok()) return 0;
  std::vector<uint32_t> mask((kVocabSize + 31) / 32);
  for (int i = 0; i < kMaxTokens; ++i) {
    if (!state->ComputeMask(absl::MakeSpan(mask)).ok()) return 0;
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < kVocabSize; ++id) {
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    }
    if (allowed.empty()) return 0;
    const auto complete = state->Accept(allowed[(data[i % size] * 31U + i) % allowed.size()]);
    // What the mask allowed is either taken, or too much for the limits.
    if (!complete.ok() || *complete) return 0;
  }
  return 0;
}
