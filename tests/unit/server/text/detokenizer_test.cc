#include "server/text/detokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/unit/server/text/checkpoint_directory.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;

std::unique_ptr<TextModel> LoadTokenizer(const std::string& name,
                                         const std::string& config = "{}") {
  CheckpointDirectory checkpoint(name);
  checkpoint.Write("tokenizer_config.json", config);
  return LoadOrDie(checkpoint);
}

// The tokenizer of `name` with another decoder.
std::unique_ptr<TextModel> LoadWithDecoder(const std::string& name, const std::string& decoder) {
  CheckpointDirectory checkpoint(name);
  std::string json = ReadWholeFile(checkpoint.path() / "tokenizer.json");
  const size_t begin = json.find("\"decoder\":") + 10;
  const size_t end = json.find(",\"model\":");
  json.replace(begin, end - begin, decoder);
  checkpoint.Write("tokenizer.json", json);
  return LoadOrDie(checkpoint);
}

bool IsUtf8(const std::string& text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80    ? 1
                          : lead >= 0xf0 ? 4
                          : lead >= 0xe0 ? 3
                          : lead >= 0xc2 ? 2
                                         : 0;
    if (length == 0 || lead > 0xf4 || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

std::vector<std::string> Pieces(const TextModel& model, const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(model, /*skip_special_tokens=*/true);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(detokenizer.Append(id));
  pieces.push_back(detokenizer.Flush());
  return pieces;
}

std::vector<int32_t> Tokens(const TextModel& model, const std::vector<std::string>& names) {
  std::vector<int32_t> ids;
  for (const std::string& name : names) ids.push_back(*model.TokenToId(name));
  return ids;
}

// Random ids, and random ids that are mostly single bytes so that characters break in every way.
std::vector<int32_t> RandomIds(const TextModel& model, std::mt19937& random) {
  const bool bytes_only = random() % 2 == 0;
  std::vector<int32_t> ids(random() % 40);
  for (int32_t& id : ids) {
    const int32_t limit = bytes_only ? 262 : model.vocab_size() + 2;
    id = static_cast<int32_t>(random() % limit) - 1;
  }
  return ids;
}

void ExpectStreamsEqualDecodes(const TextModel& model, int num_sequences) {
  std::mt19937 random(7);
  for (int i = 0; i < num_sequences; ++i) {
    const std::vector<int32_t> ids = RandomIds(model, random);
    const bool skip = random() % 2 == 0;
    Detokenizer detokenizer(model, skip);
    std::string text;
    for (size_t k = 0; k < ids.size(); ++k) {
      const std::string piece = detokenizer.Append(ids[k]);
      ASSERT_TRUE(IsUtf8(piece)) << ::testing::PrintToString(ids);
      text += piece;
      const std::string pending = detokenizer.Pending();
      ASSERT_TRUE(IsUtf8(pending));
      ASSERT_EQ(text + pending, model.Decode(absl::MakeConstSpan(ids).first(k + 1), skip))
          << ::testing::PrintToString(ids) << " after " << k + 1;
    }
    ASSERT_EQ(text + detokenizer.Flush(), model.Decode(ids, skip)) << ::testing::PrintToString(ids);
  }
}

TEST(DetokenizerProperty, ConcatenatesToTheWholeDecodeAfterEveryTokenForEveryTokenizer) {
  for (const char* name : {"llama3", "llama2", "metaspace", "unigram", "smollm", "added_tokens"}) {
    SCOPED_TRACE(name);
    const auto model =
        LoadTokenizer(std::string(name) + ".json",
                      R"({"clean_up_tokenization_spaces": true, "bos_token": "<s>"})");
    ExpectStreamsEqualDecodes(*model, 2000);
  }
}

TEST(DetokenizerProperty, ConcatenatesToTheWholeDecodeForEveryTokenizerClass) {
  for (const char* class_name : {"LlamaTokenizer", "CodeLlamaTokenizer", "GPT2Tokenizer"}) {
    SCOPED_TRACE(class_name);
    const auto model = LoadTokenizer(
        "llama2.json", std::string(R"({"tokenizer_class": ")") + class_name + R"("})");
    ExpectStreamsEqualDecodes(*model, 1000);
  }
}

TEST(DetokenizerProperty, ConcatenatesToTheWholeDecodeForUnusualDecoders) {
  const char* decoders[] = {
      "null",
      R"({"type":"Fuse"})",
      R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":true})",
      R"({"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},
          {"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}]})",
      R"({"type":"Sequence","decoders":[{"type":"Fuse"},
          {"type":"Replace","pattern":{"String":"▁▁"},"content":"--"},
          {"type":"Strip","content":"-","start":3,"stop":0}]})",
      R"({"type":"Sequence","decoders":[{"type":"Replace","pattern":{"Regex":"[▁aeiou]+"},"content":"_"},
          {"type":"Strip","content":"_","start":1,"stop":0}]})",
      R"({"type":"Sequence","decoders":[{"type":"Fuse"},
          {"type":"Replace","pattern":{"Regex":"[▁aeiou]+"},"content":"_"}]})",
      R"({"type":"WordPiece","prefix":"##","cleanup":true})",
      R"({"type":"CTC","pad_token":"a","word_delimiter_token":"▁","cleanup":false})",
  };
  for (const char* decoder : decoders) {
    SCOPED_TRACE(decoder);
    const auto model = LoadWithDecoder("llama2.json", decoder);
    ExpectStreamsEqualDecodes(*model, 500);
  }
}

TEST(Detokenizer, HoldsBackAnIncompleteCharacterAndNothingElse) {
  const auto model = LoadTokenizer("llama3.json");
  // U+1F642 is F0 9F 99 82; in the byte-level alphabet ð Ł Ļ Ĥ.
  const auto ids = Tokens(*model, {"a", "ð", "Ł", "Ļ", "Ĥ", "b"});
  EXPECT_THAT(Pieces(*model, ids), ElementsAre("a", "", "", "", "🙂", "b", ""));
}

TEST(Detokenizer, ReplacesBytesAsSoonAsTheyAreProvenInvalid) {
  const auto model = LoadTokenizer("llama3.json");
  EXPECT_THAT(Pieces(*model, Tokens(*model, {"ð", "Ł", "a", "ÿ", "b"})),
              ElementsAre("", "", "\uFFFDa", "\uFFFD", "b", ""));
}

TEST(Detokenizer, FlushesACharacterThatNeverCompletedAsOneReplacement) {
  const auto model = LoadTokenizer("llama3.json");
  EXPECT_THAT(Pieces(*model, Tokens(*model, {"a", "ð", "Ł"})), ElementsAre("a", "", "", "\uFFFD"));
}

TEST(Detokenizer, JudgesARunOfFallbackBytesWhereItEnds) {
  const auto model = LoadTokenizer("llama2.json");
  EXPECT_THAT(Pieces(*model, Tokens(*model, {"<0xE4>", "<0xBD>", "<0xA0>", "a"})),
              ElementsAre("", "", "", "你a", ""));
  // The reference takes the run as a whole: one bad byte spoils it.
  EXPECT_THAT(Pieces(*model, Tokens(*model, {"<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "a"})),
              ElementsAre("", "", "", "", "\uFFFD\uFFFD\uFFFD\uFFFDa", ""));
}

TEST(Detokenizer, StripsTheSpaceOfTheFirstWordOnly) {
  const auto model = LoadTokenizer("llama2.json");
  EXPECT_THAT(Pieces(*model, Tokens(*model, {"▁the", "▁the"})), ElementsAre("the", " the", ""));
  EXPECT_THAT(Pieces(*model, Tokens(*model, {"<s>", "▁", "▁the"})),
              ElementsAre("", "", " the", ""));
}

TEST(Detokenizer, ACopyGoesOnFromTheSamePlaceByItself) {
  const auto model = LoadTokenizer("llama2.json");
  Detokenizer first(*model, true);
  first.Append(*model->TokenToId("▁a"));
  EXPECT_EQ(first.Append(*model->TokenToId("<0xC3>")), "");
  Detokenizer second(first);
  second.Append(*model->TokenToId("<0xA9>"));
  EXPECT_EQ(second.Flush(), "é");
  first.Append(*model->TokenToId("<0xA8>"));
  EXPECT_EQ(first.Flush(), "è");
}

TEST(Detokenizer, ShowsWhatIsPendingWithoutEndingTheAnswer) {
  const auto model = LoadTokenizer("llama2.json");
  Detokenizer detokenizer(*model, true);
  EXPECT_EQ(detokenizer.Append(*model->TokenToId("<0x0A>")), "");
  EXPECT_EQ(detokenizer.Pending(), "\n");
  EXPECT_EQ(detokenizer.Append(*model->TokenToId("<0x0A>")), "");
  EXPECT_EQ(detokenizer.Pending(), "\n\n");
  EXPECT_EQ(detokenizer.Append(*model->TokenToId("a")), "\n\na");
  EXPECT_EQ(detokenizer.Pending(), "");
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST(Detokenizer, KeepsOrSkipsSpecialTokens) {
  const auto model = LoadTokenizer("llama3.json");
  const int32_t eot = *model->TokenToId("<|eot_id|>");
  Detokenizer keeping(*model, false);
  EXPECT_EQ(keeping.Append(eot), "<|eot_id|>");
  Detokenizer skipping(*model, true);
  EXPECT_EQ(skipping.Append(eot), "");
}

TEST(Detokenizer, IgnoresIdsThatNameNoToken) {
  const auto model = LoadTokenizer("llama3.json");
  Detokenizer detokenizer(*model, true);
  EXPECT_EQ(detokenizer.Append(-1), "");
  EXPECT_EQ(detokenizer.Append(1 << 30), "");
  EXPECT_EQ(detokenizer.Flush(), "");
}

}  // namespace
}  // namespace lockstep::server
