#include "tests/testing/placeholder_tokenizer.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace lockstep::testing {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr char kBos[] = "<|begin_of_text|>";
constexpr char kEos[] = "<|end_of_text|>";
constexpr char kChatTemplate[] =
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}";

// Byte-level vocabularies write printable bytes as themselves and the others as U+0100, U+0101, …
// in order.
std::string ByteSymbol(int byte, int& num_unprintable) {
  const bool is_printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
  const int code_point = is_printable ? byte : 0x100 + num_unprintable++;
  if (code_point < 0x80) return std::string(1, static_cast<char>(code_point));
  return {static_cast<char>(0xC0 | code_point >> 6), static_cast<char>(0x80 | (code_point & 0x3F))};
}

struct SpecialIds {
  int64_t bos = -1;
  int64_t eos = -1;
};

int64_t TokenIdOrNone(const OrderedJson& config, const char* key) {
  return config.contains(key) && config[key].is_number_integer() ? config[key].get<int64_t>() : -1;
}

OrderedJson Vocabulary(int64_t vocab_size, const SpecialIds& special) {
  OrderedJson vocabulary = OrderedJson::object();
  // The underlying ordered map looks for equal keys on every insertion; these are distinct by
  // construction.
  auto& entries = vocabulary.get_ref<OrderedJson::object_t&>();
  int byte = 0;
  int num_unprintable = 0;
  for (int64_t id = 0; id < vocab_size; ++id) {
    std::string token;
    if (id == special.bos) {
      token = kBos;
    } else if (id == special.eos) {
      token = kEos;
    } else if (byte < 256) {
      token = ByteSymbol(byte++, num_unprintable);
    } else {
      token = absl::StrCat("\xC4\xA0w", id);  // U+0120 stands for a space
    }
    entries.push_back({std::move(token), id});
  }
  return vocabulary;
}

OrderedJson AddedTokens(const SpecialIds& special) {
  OrderedJson tokens = OrderedJson::array();
  const auto add = [&tokens](int64_t id, const char* content) {
    if (id < 0) return;
    tokens.push_back({{"id", id},
                      {"content", content},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", true}});
  };
  add(special.bos, kBos);
  if (special.eos != special.bos) add(special.eos, kEos);
  return tokens;
}

OrderedJson Tokenizer(int64_t vocab_size, const SpecialIds& special) {
  const OrderedJson byte_level = {{"type", "ByteLevel"},
                                  {"add_prefix_space", false},
                                  {"trim_offsets", true},
                                  {"use_regex", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", AddedTokens(special)},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", byte_level},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", Vocabulary(vocab_size, special)},
            {"merges", OrderedJson::array()}}}};
}

absl::Status WriteJson(const std::filesystem::path& path, const OrderedJson& json) {
  std::ofstream file(path, std::ios::binary);
  file << json.dump();
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path.string()));
  return absl::OkStatus();
}

absl::Status WriteFiles(const std::filesystem::path& directory, int64_t vocab_size,
                        const SpecialIds& special) {
  OrderedJson tokenizer_config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                  {"chat_template", kChatTemplate}};
  OrderedJson generation_config = OrderedJson::object();
  if (special.bos >= 0) {
    tokenizer_config["bos_token"] = kBos;
    generation_config["bos_token_id"] = special.bos;
  }
  if (special.eos >= 0) {
    tokenizer_config["eos_token"] = special.eos == special.bos ? kBos : kEos;
    generation_config["eos_token_id"] = special.eos;
  }
  absl::Status status = WriteJson(directory / "tokenizer.json", Tokenizer(vocab_size, special));
  if (status.ok()) status = WriteJson(directory / "tokenizer_config.json", tokenizer_config);
  if (status.ok()) status = WriteJson(directory / "generation_config.json", generation_config);
  return status;
}

}  // namespace

absl::Status WritePlaceholderTokenizer(const std::filesystem::path& directory,
                                       std::string_view config_json) {
  const OrderedJson config = OrderedJson::parse(config_json, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object() || !config.contains("vocab_size") ||
      !config["vocab_size"].is_number_integer()) {
    return absl::InvalidArgumentError("config.json: vocab_size is missing or not an integer");
  }
  const int64_t vocab_size = config["vocab_size"].get<int64_t>();
  const SpecialIds special{TokenIdOrNone(config, "bos_token_id"),
                           TokenIdOrNone(config, "eos_token_id")};
  constexpr int64_t kSmallestVocabulary = 258;  // 256 bytes, BOS and EOS
  if (vocab_size < kSmallestVocabulary || special.bos >= vocab_size || special.eos >= vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("vocab_size is %d, bos_token_id %d, eos_token_id %d: a tokenizer needs at "
                        "least %d entries, these two among them",
                        vocab_size, special.bos, special.eos, kSmallestVocabulary));
  }
  return WriteFiles(directory, vocab_size, special);
}

}  // namespace lockstep::testing
