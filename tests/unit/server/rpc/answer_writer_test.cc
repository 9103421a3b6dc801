#include "server/rpc/answer_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "server/rpc/utf8.h"
#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;

TokenEvent Token(int32_t id, bool ends_answer = false) {
  TokenEvent event{{}, ends_answer};
  event.token.set_token_id(static_cast<uint32_t>(id));
  return event;
}

// What a client has seen of an answer.
struct Seen {
  std::string text;
  std::vector<std::string> pieces;
  std::vector<uint32_t> token_ids;
  bool stopped = false;
  std::optional<std::string> stop_string;
  int32_t num_tokens = 0;
};

// `has_end_token`: the last one ends the answer.
Seen Write(const TextModel& text, const AnswerOptions& options, const std::vector<int32_t>& answer,
           const std::vector<int32_t>& prompt = {}, bool has_end_token = false) {
  AnswerWriter writer(text, options, prompt, std::nullopt);
  Seen seen;
  seen.text = writer.echo();
  const auto take = [&](const v1::Delta& delta) {
    EXPECT_TRUE(delta.has_text());
    EXPECT_EQ(ValidUtf8Prefix(delta.text()), delta.text().size());
    seen.text += delta.text();
    seen.pieces.push_back(delta.text());
    seen.token_ids.insert(seen.token_ids.end(), delta.token_ids().begin(), delta.token_ids().end());
  };
  for (std::size_t i = 0; i < answer.size(); ++i) {
    v1::Delta delta;
    const bool ends_answer = has_end_token && i + 1 == answer.size();
    seen.stopped = writer.Append(Token(answer[i], ends_answer), delta);
    take(delta);
    if (seen.stopped) break;
  }
  if (!seen.stopped) {
    v1::Delta delta;
    seen.stopped = writer.Finish(delta);
    take(delta);
  }
  seen.stop_string = writer.stop_string();
  seen.num_tokens = writer.num_tokens();
  return seen;
}

class AnswerWriterTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(text_, nullptr); }
  Seen WriteBytes(const AnswerOptions& options, std::string_view answer) {
    return Write(*text_, options, BytesAsTokens(*text_, answer));
  }
  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
};

TEST_F(AnswerWriterTest, NeverEmitsHalfACharacterAndSwallowsNone) {
  const Seen seen = WriteBytes({}, "a€😀é.");
  EXPECT_EQ(seen.text, "a€😀é.");
  EXPECT_THAT(seen.pieces, ElementsAre("a", "", "", "€", "", "", "", "😀", "", "é", ".", ""));
}

TEST_F(AnswerWriterTest, AnAnswerThatEndsInsideACharacterEndsWithAReplacement) {
  auto ids = BytesAsTokens(*text_, "a€");
  ids.pop_back();
  EXPECT_THAT(Write(*text_, {}, ids).text, ::testing::StartsWith("a\xEF\xBF\xBD"));
}

TEST_F(AnswerWriterTest, EndsBeforeAStopStringAcrossTokenBorders) {
  AnswerOptions options;
  options.stop_strings = {"STOP"};
  const Seen seen = WriteBytes(options, "go STSTOP and on");
  EXPECT_EQ(seen.text, "go ST");
  EXPECT_TRUE(seen.stopped);
  EXPECT_EQ(seen.stop_string, "STOP");
  EXPECT_EQ(seen.num_tokens, 9);
  EXPECT_EQ(seen.token_ids.size(), 9u);
}

TEST_F(AnswerWriterTest, HoldsBackOnlyWhatMayBeginAStopString) {
  AnswerOptions options;
  options.stop_strings = {"xyz"};
  EXPECT_THAT(WriteBytes(options, "axyaxy").pieces, ElementsAre("a", "", "", "xya", "", "", "xy"));
}

TEST_F(AnswerWriterTest, IncludesTheStopStringOnRequestAndHoldsNothingBack) {
  AnswerOptions options;
  options.stop_strings = {"xyz"};
  options.include_stop_string = true;
  const Seen seen = WriteBytes(options, "axyzb");
  EXPECT_EQ(seen.text, "axyz");
  EXPECT_THAT(seen.pieces, ElementsAre("a", "x", "y", "z"));
}

TEST_F(AnswerWriterTest, StopStringsCountFromMinNewTokensOn) {
  AnswerOptions options;
  options.stop_strings = {"b"};
  options.min_new_tokens = 4;
  EXPECT_EQ(WriteBytes(options, "ababab").text, "aba");
  options.min_new_tokens = 5;
  const Seen seen = WriteBytes(options, "ababab");
  EXPECT_EQ(seen.text, "ababa");
  EXPECT_EQ(seen.num_tokens, 6);
}

TEST_F(AnswerWriterTest, TheEndTokenIsReportedAndIsNoText) {
  AnswerOptions options;
  options.skip_special_tokens = false;
  const Seen seen =
      Write(*text_, options, BytesAsTokens(*text_, "hi\n"), {}, /*has_end_token=*/true);
  EXPECT_EQ(seen.text, "hi");
  EXPECT_THAT(seen.pieces, ElementsAre("h", "i", "", ""));
  EXPECT_EQ(seen.token_ids.size(), 3u);
}

TEST_F(AnswerWriterTest, LeavesSpecialTokensOutUnlessAskedFor) {
  auto answer = BytesAsTokens(*text_, "ab");
  answer.insert(answer.begin() + 1, kByteEos);
  EXPECT_EQ(Write(*text_, {}, answer).text, "ab");
  AnswerOptions options;
  options.skip_special_tokens = false;
  EXPECT_EQ(Write(*text_, options, answer).text.size(), 2 + text_->TokenBytes(kByteEos).size());
}

TEST_F(AnswerWriterTest, ReportsDetailsWhereAskedFor) {
  AnswerOptions options;
  options.token_details = true;
  options.logprobs = true;
  AnswerWriter writer(*text_, options, {}, std::nullopt);
  auto event = Token(BytesAsTokens(*text_, "a")[0]);
  worker::v1::SampledToken& token = event.token;
  token.set_logprob(-0.5);
  token.set_rank(1);
  auto& top = *token.add_top();
  top.set_token_id(token.token_id());
  top.set_logprob(-0.5);
  v1::Delta delta;
  writer.Append(event, delta);
  ASSERT_EQ(delta.tokens_size(), 1);
  EXPECT_EQ(delta.tokens(0).bytes(), "a");
  EXPECT_FLOAT_EQ(delta.tokens(0).logprob(), -0.5);
  EXPECT_EQ(delta.tokens(0).rank(), 1u);
  ASSERT_EQ(delta.tokens(0).top_size(), 1);
  EXPECT_EQ(delta.tokens(0).top(0).bytes(), "a");
}

TEST_F(AnswerWriterTest, CompletesACharacterThatThePromptBegan) {
  const auto ids = BytesAsTokens(*text_, "x€y");
  const std::vector<int32_t> prompt(ids.begin(), ids.begin() + 3);
  const std::vector<int32_t> answer(ids.begin() + 3, ids.end());
  EXPECT_EQ(Write(*text_, {}, answer, prompt).text, "€y");
}

TEST_F(AnswerWriterTest, EchoIsThePrompt) {
  AnswerOptions options;
  options.echo = true;
  EXPECT_EQ(AnswerWriter(*text_, options, BytesAsTokens(*text_, "hé"), std::nullopt).echo(), "hé");
  EXPECT_EQ(AnswerWriter(*text_, options, BytesAsTokens(*text_, "h"), "as given").echo(),
            "as given");
  EXPECT_EQ(AnswerWriter(*text_, {}, BytesAsTokens(*text_, "h"), std::nullopt).echo(), "");
}

TEST_F(AnswerWriterTest, AnEchoAndItsAnswerAreTheTextOfAllTokensWhereverTheyMeet) {
  AnswerOptions options;
  options.echo = true;
  for (const std::string all : {"x€y", "x\xE2\x82y", "x\xE2\x82", "é\xF0\x9F\x8E\x89"}) {
    const auto ids = BytesAsTokens(*text_, all);
    const std::string whole = WriteBytes({}, all).text;
    for (size_t cut = 0; cut <= ids.size(); ++cut) {
      const auto middle = ids.begin() + static_cast<ptrdiff_t>(cut);
      EXPECT_EQ(Write(*text_, options, {middle, ids.end()}, {ids.begin(), middle}).text, whole)
          << cut;
      options.stop_strings = {"y"};
      EXPECT_EQ(Write(*text_, options, {middle, ids.end()}, {ids.begin(), middle}).text,
                cut < ids.size() && whole.back() == 'y' ? whole.substr(0, whole.size() - 1) : whole)
          << cut;
      options.stop_strings.clear();
    }
  }
}

// Whatever the tokens are cut into, the text is that of a search over the whole answer.
TEST_F(AnswerWriterTest, AgreesWithASearchOverTheWholeAnswer) {
  std::mt19937 random(2);
  const std::vector<std::string> alphabet = {"a", "b", "é", "€", "😀"};
  const auto make = [&](std::size_t size) {
    std::string s;
    for (std::size_t i = 0; i < size; ++i) s += alphabet[random() % alphabet.size()];
    return s;
  };
  for (int round = 0; round < 2000; ++round) {
    AnswerOptions options;
    options.stop_strings = {make(1 + random() % 2), make(2 + random() % 3)};
    options.include_stop_string = random() % 2 == 0;
    const std::string answer = make(random() % 20);
    // The first to end; of two with the same end, the longer.
    std::size_t best_end = std::string::npos, best_begin = 0;
    for (const auto& s : options.stop_strings) {
      const std::size_t begin = answer.find(s);
      if (begin == std::string::npos) continue;
      const std::size_t end = begin + s.size();
      if (best_end == std::string::npos || end < best_end ||
          (end == best_end && begin < best_begin)) {
        best_end = end;
        best_begin = begin;
      }
    }
    const std::string expected =
        best_end == std::string::npos
            ? answer
            : answer.substr(0, options.include_stop_string ? best_end : best_begin);
    const Seen seen = WriteBytes(options, answer);
    ASSERT_EQ(seen.text, expected)
        << answer << " | " << options.stop_strings[0] << " | " << options.stop_strings[1];
    ASSERT_EQ(seen.stopped, best_end != std::string::npos);
  }
}

// A SentencePiece vocabulary: words carry their space, and unknown characters are byte tokens.
class SentencePieceAnswerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TemporaryDirectory directory;
    std::filesystem::copy_file(
        std::filesystem::path(LOCKSTEP_SOURCE_DIR) / "tests/parity/text/reference/llama2.json",
        directory.path() / "tokenizer.json");
    directory.Write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer"})");
    auto model = TextModel::Load(directory.path());
    ASSERT_TRUE(model.ok()) << model.status();
    text_ = *std::move(model);
  }
  std::vector<int32_t> Encode(std::string_view utf8) {
    auto ids = text_->Encode(utf8, /*add_special_tokens=*/true);
    return ids.ok() ? *ids : std::vector<int32_t>();
  }
  std::unique_ptr<TextModel> text_;
};

TEST_F(SentencePieceAnswerTest, TheAnswerContinuesThePrompt) {
  const auto prompt = Encode("the");
  const auto whole = Encode("the the");
  ASSERT_GT(whole.size(), prompt.size());
  ASSERT_TRUE(std::equal(prompt.begin(), prompt.end(), whole.begin()));
  const std::vector<int32_t> answer(whole.begin() + static_cast<std::ptrdiff_t>(prompt.size()),
                                    whole.end());
  EXPECT_EQ(Write(*text_, {}, answer, prompt).text, " the");
  EXPECT_EQ(Write(*text_, {}, answer, {1}).text, "the");
}

TEST_F(SentencePieceAnswerTest, APromptThatEndsInAByteTokenIsNotRepeated) {
  const auto newline = text_->TokenToId("<0x0A>");
  ASSERT_TRUE(newline.has_value());
  auto prompt = Encode("the");
  prompt.push_back(*newline);
  const auto word = Encode("the").back();
  EXPECT_EQ(Write(*text_, {}, {word}, prompt).text, " the");
  EXPECT_EQ(Write(*text_, {}, {*newline, word}, prompt).text, "\n the");
  EXPECT_EQ(Write(*text_, {}, {}, prompt).text, "");
}

TEST_F(SentencePieceAnswerTest, AStopStringOfAByteTokenEndsTheAnswerAtThatToken) {
  const auto newline = text_->TokenToId("<0x0A>");
  ASSERT_TRUE(newline.has_value());
  const auto word = Encode("the").back();
  AnswerOptions options;
  options.stop_strings = {"\n"};
  const Seen seen = Write(*text_, options, {word, *newline, word}, {1});
  EXPECT_EQ(seen.text, "the");
  EXPECT_EQ(seen.num_tokens, 2);
}

}  // namespace
}  // namespace lockstep::server
