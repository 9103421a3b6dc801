// A tokenizer with a compiler of guides, and answers under them.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_TEXT_VOCABULARY_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_TEXT_VOCABULARY_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/guide.h"
#include "server/text/text_model.h"
#include "tests/unit/server/text/checkpoint_directory.h"

namespace lockstep::server {

// A tokenizer with its compiler; a few ids more than it has tokens, as padded models have.
class Vocabulary {
 public:
  explicit Vocabulary(std::string_view tokenizer, std::vector<int32_t> end_tokens = {})
      : directory_(tokenizer),
        text_(*TextModel::Load(directory_.path())),
        vocab_size_(text_->vocab_size() + 40),
        end_tokens_(std::move(end_tokens)),
        compiler_(*GuideCompiler::Create(*text_, vocab_size_, end_tokens_)) {}

  const TextModel& text() const { return *text_; }
  const GuideCompiler& compiler() const { return compiler_; }

  absl::Status Refusal(GuideSpec::Kind kind, const std::string& text) const {
    return compiler_.Compile({kind, text}).status();
  }

  std::vector<int32_t> Allowed(GuideState& state) const {
    std::vector<uint32_t> mask(static_cast<size_t>(vocab_size_ + 31) / 32);
    EXPECT_EQ(state.ComputeMask(absl::MakeSpan(mask)), absl::OkStatus());
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < vocab_size_; ++id) {
      if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) allowed.push_back(id);
    }
    return allowed;
  }

  // The text of a random answer, of tokens that the guide allows, short ones rather than long. An
  // answer that has not ended after `max_tokens` is empty.
  std::string RandomAnswer(const Guide& guide, uint32_t seed, int max_tokens = 2000) const {
    std::mt19937 random(seed);
    GuideState state = *guide.Start();
    std::vector<int32_t> answer;
    for (int i = 0; i < max_tokens; ++i) {
      const std::vector<int32_t> allowed = Allowed(state);
      if (allowed.empty()) {
        ADD_FAILURE() << "nothing may follow " << text_->Decode(answer, true);
        return "";
      }
      const int32_t token = allowed[random() % allowed.size()];
      if (std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end()) break;
      answer.push_back(token);
      const absl::StatusOr<bool> complete = state.Accept(token);
      if (!complete.ok()) {
        ADD_FAILURE() << complete.status();
        return "";
      }
      if (*complete) break;
      if (i + 1 == max_tokens) return "";
    }
    std::string bytes;
    for (const int32_t id : answer) bytes += text_->TokenBytes(id);
    return bytes;
  }

 private:
  CheckpointDirectory directory_;
  std::unique_ptr<TextModel> text_;
  int32_t vocab_size_;
  std::vector<int32_t> end_tokens_;
  GuideCompiler compiler_;
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_TEXT_VOCABULARY_H_
