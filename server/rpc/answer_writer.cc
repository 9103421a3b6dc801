#include "server/rpc/answer_writer.h"

#include <algorithm>
#include <utility>

#include "server/rpc/token_detail.h"

namespace lockstep::server {
namespace {

bool IsContinuationByte(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

AnswerWriter::AnswerWriter(const TextModel& text, AnswerOptions options,
                           absl::Span<const int32_t> prompt,
                           const std::optional<std::string>& prompt_text)
    : text_(text),
      options_(std::move(options)),
      detokenizer_(text, options_.skip_special_tokens),
      matcher_(options_.stop_strings) {
  Prime(prompt, prompt_text);
}

void AnswerWriter::Prime(absl::Span<const int32_t> prompt,
                         const std::optional<std::string>& prompt_text) {
  std::string decoded;
  for (int32_t id : prompt) {
    const std::string piece = detokenizer_.Append(id);
    if (options_.echo) decoded += piece;
  }
  prompt_rest_ = detokenizer_.Pending();
  echoes_rest_ = options_.echo && !prompt_text.has_value();
  if (options_.echo) echo_ = prompt_text.value_or(decoded);
}

// A prompt may end where text is not final: within a character, or in a run of byte tokens. What
// comes out of the detokenizer then begins with the prompt's text, as far as the two agree; from
// where they differ on (a character that the answer completed) it is the answer's.
std::size_t AnswerWriter::PromptBytes(std::string_view piece) const {
  const std::size_t limit = std::min(piece.size(), prompt_rest_.size());
  std::size_t same = 0;
  while (same < limit && piece[same] == prompt_rest_[same]) ++same;
  while (same > 0 && same < piece.size() && IsContinuationByte(piece[same])) --same;
  return same;
}

std::string AnswerWriter::TakeAnswerText(std::string piece, v1::Delta& delta) {
  if (prompt_rest_.empty() || piece.empty()) return piece;
  const std::size_t same = PromptBytes(piece);
  if (same == piece.size()) {
    prompt_rest_.erase(0, same);
  } else {
    prompt_rest_.clear();
  }
  if (echoes_rest_) delta.mutable_text()->append(piece, 0, same);
  piece.erase(0, same);
  return piece;
}

bool AnswerWriter::Append(const TokenEvent& event, v1::Delta& delta) {
  const worker::v1::SampledToken& token = event.token;
  ++num_tokens_;
  delta.add_token_ids(token.token_id());
  // Present, if empty: clients put it out as it is.
  delta.mutable_text();
  if (options_.token_details || options_.logprobs) {
    *delta.add_tokens() = DescribeToken(text_, token, options_.logprobs);
  }
  if (event.ends_answer) return false;
  const auto id = static_cast<int32_t>(token.token_id());
  return AddText(TakeAnswerText(detokenizer_.Append(id), delta), delta) || StopInPendingText(delta);
}

bool AnswerWriter::Finish(v1::Delta& delta) {
  if (AddText(TakeAnswerText(detokenizer_.Flush(), delta), delta)) return true;
  delta.mutable_text()->append(held_);
  held_.clear();
  return false;
}

bool AnswerWriter::AddText(std::string_view piece, v1::Delta& delta) {
  const auto match = matcher_.Append(piece, CanStop());
  if (match.has_value()) {
    const std::size_t end = held_.size() + match->end;
    held_.append(piece);
    StopAt(match->index, end, delta);
    return true;
  }
  held_.append(piece);
  // A stop string that is left in the text takes nothing back.
  const std::size_t undecided = options_.include_stop_string ? 0 : matcher_.num_undecided();
  delta.mutable_text()->append(held_, 0, held_.size() - undecided);
  held_.erase(0, held_.size() - undecided);
  return false;
}

// Text that the detokenizer holds back may complete a stop string ("\n" as a byte token, which a
// later one could still make part of a character). Looked at on a copy: if it does not, the text
// comes again.
bool AnswerWriter::StopInPendingText(v1::Delta& delta) {
  if (options_.stop_strings.empty()) return false;
  const std::string pending = detokenizer_.Pending();
  if (pending.empty()) return false;
  const std::size_t num_prompt_bytes = PromptBytes(pending);
  const std::string_view answer = std::string_view(pending).substr(num_prompt_bytes);
  StopStringMatcher probe = matcher_;
  const auto match = probe.Append(answer, CanStop());
  if (!match.has_value()) return false;
  if (echoes_rest_) delta.mutable_text()->append(pending, 0, num_prompt_bytes);
  const std::size_t end = held_.size() + match->end;
  held_.append(answer);
  StopAt(match->index, end, delta);
  return true;
}

// `end`: where in held_ the stop string ends.
void AnswerWriter::StopAt(std::size_t stop_string, std::size_t end, v1::Delta& delta) {
  stop_string_ = options_.stop_strings[stop_string];
  // With include_stop_string part of the stop string is in earlier deltas already.
  const std::size_t keep = options_.include_stop_string ? end : end - stop_string_->size();
  delta.mutable_text()->append(held_, 0, keep);
  held_.clear();
}

}  // namespace lockstep::server
