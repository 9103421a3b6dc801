// The text model against transformers' AutoTokenizer, for checkpoints of every kind (reference/, by
// dump_reference.py).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/text/detokenizer.h"
#include "server/text/text_model.h"
#include "tests/unit/server/text/checkpoint_directory.h"

namespace lockstep::server {
namespace {

using Ids = std::vector<int32_t>;

class TokenizerParity : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    reference_ = nlohmann::json::parse(ReadWholeFile(kTextReference / (GetParam() + ".case.json")));
    CheckpointDirectory checkpoint(reference_["tokenizer"].get<std::string>());
    for (const auto& [name, content] : reference_["files"].items()) {
      checkpoint.Write(name, content.dump());
    }
    auto model = TextModel::Load(checkpoint.path());
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  nlohmann::json reference_;
  std::unique_ptr<TextModel> model_;
};

TEST_P(TokenizerParity, EncodesAsTheReferenceDoes) {
  for (const auto& entry : reference_["encode"]) {
    const std::string text = entry["text"];
    auto ids = model_->Encode(text, true);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, entry["ids"].get<Ids>()) << text;
    auto plain = model_->Encode(text, false);
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_EQ(*plain, entry["plain"].get<Ids>()) << text;
  }
}

TEST_P(TokenizerParity, DecodesAsTheReferenceDoes) {
  for (const auto& entry : reference_["decode"]) {
    const Ids ids = entry["ids"];
    EXPECT_EQ(model_->Decode(ids, false), entry["text"].get<std::string>()) << entry["ids"];
    EXPECT_EQ(model_->Decode(ids, true), entry["skipped"].get<std::string>()) << entry["ids"];
  }
}

TEST_P(TokenizerParity, StreamsWhatTheReferenceDecodes) {
  for (const auto& entry : reference_["decode"]) {
    for (const bool skip : {false, true}) {
      Detokenizer detokenizer(*model_, skip);
      std::string text;
      for (const int32_t id : entry["ids"]) text += detokenizer.Append(id);
      text += detokenizer.Flush();
      EXPECT_EQ(text, entry[skip ? "skipped" : "text"].get<std::string>()) << entry["ids"];
    }
  }
}

TEST_P(TokenizerParity, NamesTheSameSpecialTokens) {
  for (const auto& [name, id] : reference_["special_tokens"].items()) {
    EXPECT_EQ(model_->SpecialTokenId(name), id.get<int32_t>()) << name;
  }
  Ids special;
  for (int32_t id = 0; id < model_->vocab_size(); ++id) {
    if (model_->IsSpecial(id)) special.push_back(id);
  }
  EXPECT_EQ(special, reference_["special_ids"].get<Ids>());
  EXPECT_EQ(model_->vocab_size(), reference_["vocab_size"].get<int32_t>());
}

INSTANTIATE_TEST_SUITE_P(
    Checkpoints, TokenizerParity,
    ::testing::Values("llama3", "llama3_declared_llama", "llama3_without_config", "llama2",
                      "llama2_legacy", "llama2_without_prefix_space", "llama2_as_stored",
                      "codellama", "metaspace", "unigram", "smollm", "qwen2", "gpt_neox", "padded",
                      "padded_gpt2", "padded_without_pad_token", "additional_tokens_with_flags",
                      "added_tokens", "added_tokens_decoder"),
    [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lockstep::server
