#include "server/text/text_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/server/text/checkpoint_directory.h"

namespace lockstep::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kLlama3Config[] = R"({"tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}})";

absl::Status LoadError(const CheckpointDirectory& checkpoint) {
  return TextModel::Load(checkpoint.path()).status();
}

std::unique_ptr<TextModel> Llama3() {
  CheckpointDirectory checkpoint("llama3.json");
  checkpoint.Write("tokenizer_config.json", kLlama3Config);
  return LoadOrDie(checkpoint);
}

std::unique_ptr<TextModel> Llama2() {
  CheckpointDirectory checkpoint("llama2.json");
  checkpoint.Write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
  return LoadOrDie(checkpoint);
}

TEST(TextModelLoad, NamesAMissingDirectory) {
  const absl::Status status = TextModel::Load("/no/such/checkpoint").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/checkpoint"));
}

TEST(TextModelLoad, NamesAMissingTokenizerAndTheFix) {
  CheckpointDirectory checkpoint;
  checkpoint.Write("tokenizer.model", "sentencepiece");
  const absl::Status status = LoadError(checkpoint);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tokenizer.json is missing"), HasSubstr("save_pretrained")));
}

TEST(TextModelLoad, RefusesATruncatedTokenizer) {
  CheckpointDirectory checkpoint;
  const std::string whole = ReadWholeFile(kTextReference / "llama3.json");
  for (const size_t size : {size_t{0}, size_t{1}, whole.size() / 2, whole.size() - 3}) {
    checkpoint.Write("tokenizer.json", whole.substr(0, size));
    const absl::Status status = LoadError(checkpoint);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json"));
  }
}

TEST(TextModelLoad, RefusesATokenizerThatIsJsonButNoTokenizer) {
  CheckpointDirectory checkpoint;
  const std::string deep(100000, '[');
  const std::string hostile[] = {
      "[]",
      "{}",
      "null",
      "\"text\"",
      R"({"model": {"type": "BPE", "vocab": {}, "merges": []}})",
      R"({"version": "1.0", "added_tokens": [], "model": {"type": "Unheard", "vocab": {}}})",
      deep};
  for (const std::string& content : hostile) {
    checkpoint.Write("tokenizer.json", content);
    EXPECT_EQ(LoadError(checkpoint).code(), absl::StatusCode::kInvalidArgument) << content;
  }
}

TEST(TextModelLoad, RefusesFilesThatNestAbsurdly) {
  const std::string deep =
      "{\"normalizer\": " + std::string(100000, '[') + std::string(100000, ']') + "}";
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "added_tokens.json"}) {
    CheckpointDirectory checkpoint("llama3.json");
    checkpoint.Write(name, deep);
    const absl::Status status = LoadError(checkpoint);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(TextModelLoad, RefusesADecoderThatTheLibraryPanicsOn) {
  CheckpointDirectory checkpoint("llama2.json");
  std::string json = ReadWholeFile(checkpoint.path() / "tokenizer.json");
  const size_t begin = json.find("\"decoder\":") + 10;
  json.replace(begin, json.find(",\"model\":") - begin, R"({"type":"Strip","content":"\ud800"})");
  checkpoint.Write("tokenizer.json", json);
  const absl::Status status = LoadError(checkpoint);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json"));
}

TEST(TextModelLoad, RefusesAnAbsurdTokenId) {
  CheckpointDirectory checkpoint;
  checkpoint.Write("tokenizer.json", R"({"version": "1.0", "added_tokens": [], "model":
      {"type": "BPE", "vocab": {"a": 0, "b": 4294967295}, "merges": []}})");
  const absl::Status status = LoadError(checkpoint);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("4294967295"));
}

TEST(TextModelLoad, NamesTheConfigFileOrFieldThatIsWrong) {
  struct Case {
    const char* file;
    const char* content;
    const char* expected;
  };
  const Case cases[] = {
      {"tokenizer_config.json", "{\"bos_token\": ", "tokenizer_config.json is not valid JSON"},
      {"tokenizer_config.json", "[1]", "tokenizer_config.json must hold a JSON object"},
      {"tokenizer_config.json", R"({"bos_token": 7})", "bos_token must be a string"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})",
       "\"x\" is not a token id"},
      {"tokenizer_config.json", R"({"added_tokens_decoder": {"3": {}}})",
       "token 3 has no \"content\""},
      {"tokenizer_config.json", R"({"chat_template": 3})", "chat_template must be a string"},
      {"special_tokens_map.json", "nonsense", "special_tokens_map.json is not valid JSON"},
      {"added_tokens.json", R"({"<x>": -1})", "added_tokens.json"},
      {"chat_template.jinja", "caf\xe9",
       "chat_template.jinja is not UTF-8: invalid byte at offset 3"},
  };
  for (const Case& c : cases) {
    CheckpointDirectory checkpoint("llama3.json");
    checkpoint.Write(c.file, c.content);
    const absl::Status status = LoadError(checkpoint);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.content;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.expected));
  }
}

TEST(TextModelLoad, RefusesAFileThatIsADirectory) {
  CheckpointDirectory checkpoint("llama3.json");
  checkpoint.Write("tokenizer_config.json/inside", "");
  EXPECT_THAT(std::string(LoadError(checkpoint).message()), HasSubstr("not a regular file"));
}

TEST(TextModelLoad, ALinkToNowhereIsNotAnAbsentFile) {
  for (const char* name : {"tokenizer_config.json", "chat_template.jinja", "tokenizer.json"}) {
    CheckpointDirectory checkpoint("llama3.json");
    std::filesystem::remove(checkpoint.path() / name);
    std::filesystem::create_symlink("../blobs/gone", checkpoint.path() / name);
    EXPECT_THAT(std::string(LoadError(checkpoint).message()),
                AllOf(HasSubstr(name), HasSubstr("../blobs/gone")));
  }
}

TEST(TextModelEncode, RefusesBytesThatAreNotUtf8AndSaysWhere) {
  const auto model = Llama3();
  for (const std::string text :
       {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xc0\x80"}) {
    const auto ids = model->Encode(text, true);
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(ids.status().message()), HasSubstr("offset 2"));
  }
}

TEST(TextModelEncode, GivesTheBosAloneForEmptyText) {
  const auto model = Llama3();
  EXPECT_THAT(*model->Encode("", true), ElementsAre(*model->bos_token_id()));
  EXPECT_THAT(*model->Encode("", false), IsEmpty());
}

TEST(TextModelEncode, IgnoresATruncationStoredWithTheTokenizer) {
  CheckpointDirectory checkpoint("llama3.json");
  std::string json = ReadWholeFile(checkpoint.path() / "tokenizer.json");
  const std::string none = "\"truncation\":null";
  json.replace(
      json.find(none), none.size(),
      R"("truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0})");
  checkpoint.Write("tokenizer.json", json);
  EXPECT_EQ(LoadOrDie(checkpoint)->Encode(std::string(1000, '!'), false)->size(), 1000u);
}

TEST(TextModelEncode, GivesTheSameIdsFromManyThreads) {
  const auto model = Llama3();
  const std::string text = "I'm sure they're here: 12345 naïve 今天 🙂\n";
  const std::vector<int32_t> expected = *model->Encode(text, true);
  std::vector<std::thread> threads;
  std::vector<int> num_equal(8, 0);
  for (size_t t = 0; t < num_equal.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        num_equal[t] +=
            *model->Encode(text, true) == expected && model->Decode(expected, true) == text;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(num_equal, ::testing::Each(200));
}

TEST(TextModelDecode, LeavesOutIdsThatNameNoToken) {
  const auto model = Llama3();
  std::vector<int32_t> ids = *model->Encode("Hello", false);
  const size_t num_ids = ids.size();
  ids.insert(ids.begin(), {-1, 1 << 30, INT32_MIN});
  EXPECT_EQ(model->Decode(ids, false), "Hello");
  EXPECT_EQ(ids.size(), num_ids + 3);
}

TEST(TextModelDecode, ChecksIdsNamingIndexValueAndLimit) {
  const auto model = Llama3();
  EXPECT_TRUE(model->CheckIds({0, model->vocab_size() - 1}).ok());
  const absl::Status negative = model->CheckIds({3, 4, -7});
  EXPECT_EQ(negative.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(negative.message()), HasSubstr("token_ids[2] is -7"));
  EXPECT_THAT(std::string(model->CheckIds({model->vocab_size()}).message()),
              HasSubstr(std::to_string(model->vocab_size() - 1)));
}

TEST(TextModelTokens, GivesExactBytesOfByteLevelTokens) {
  const auto model = Llama3();
  for (int byte = 0; byte < 256; ++byte) {
    // The first 256 tokens are the alphabet: each stands for one byte, and each byte has one.
    int num_found = 0;
    for (int32_t id = 0; id < 256; ++id) {
      num_found += model->TokenBytes(id) == std::string(1, static_cast<char>(byte));
    }
    EXPECT_EQ(num_found, 1) << byte;
  }
  EXPECT_EQ(model->TokenBytes(*model->TokenToId("<|eot_id|>")), "<|eot_id|>");
  EXPECT_EQ(model->TokenBytes(*model->TokenToId("Ġthe")), " the");
}

TEST(TextModelTokens, GivesExactBytesOfByteFallbackTokens) {
  const auto model = Llama2();
  EXPECT_EQ(model->TokenBytes(*model->TokenToId("<0x0A>")), "\n");
  EXPECT_EQ(model->TokenBytes(*model->TokenToId("<0xFF>")), "\xff");
  EXPECT_EQ(model->TokenBytes(*model->TokenToId("▁the")), " the");
  EXPECT_EQ(model->TokenBytes(*model->TokenToId("</s>")), "</s>");
  EXPECT_EQ(model->TokenBytes(-1), "");
  EXPECT_EQ(model->TokenBytes(model->vocab_size()), "");
}

TEST(TextModelTokens, BytesOfTheTokensOfATextMakeUpTheText) {
  const std::string text = "naïve café 今天 🙂\n\ttabs  and   spaces \x01";
  for (const auto& model : {Llama3(), Llama2()}) {
    const std::vector<int32_t> ids = *model->Encode(text, false);
    std::string bytes;
    for (const int32_t id : ids) bytes += model->TokenBytes(id);
    // SentencePiece writes a space before the first word.
    if (bytes[0] == ' ') bytes.erase(0, 1);
    EXPECT_EQ(bytes, text);
  }
}

TEST(TextModelTokens, KnowsSpecialTokensByNameAndId) {
  const auto model = Llama3();
  EXPECT_EQ(model->bos_token_id(), model->TokenToId("<|begin_of_text|>"));
  EXPECT_EQ(model->eos_token_id(), model->TokenToId("<|eot_id|>"));
  EXPECT_EQ(model->SpecialTokenId("pad_token"), std::nullopt);
  EXPECT_TRUE(model->IsSpecial(*model->eos_token_id()));
  EXPECT_FALSE(model->IsSpecial(5));
  EXPECT_FALSE(model->IsSpecial(-5));
  EXPECT_EQ(model->TokenToId("no such token"), std::nullopt);
  EXPECT_EQ(model->TokenToId("\xff"), std::nullopt);
}

TEST(TextModelTokens, EncodesTheTextOfSpecialTokensAsThem) {
  const auto model = Llama3();
  EXPECT_THAT(*model->Encode("<|eot_id|>", false), ElementsAre(*model->eos_token_id()));
}

TEST(TextModelStories, BeginsAnAnswerWithoutTheSpaceOfItsFirstWord) {
  const auto path = std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "../shared/models/stories260k";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
  auto model = TextModel::Load(path);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::string text =
      "Once upon a time, there was a little girl named Lily. \"Let's go\", she said.\nThe end.";
  const std::vector<int32_t> ids = *(*model)->Encode(text, true);
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ((*model)->Decode(ids, true), text);
  EXPECT_EQ((*model)->bos_token_id(), 1);
  EXPECT_EQ((*model)->eos_token_id(), 1);
  EXPECT_EQ((*model)->vocab_size(), 512);
  EXPECT_FALSE((*model)->has_chat_template());
}

}  // namespace
}  // namespace lockstep::server
