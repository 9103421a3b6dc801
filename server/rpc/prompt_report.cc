#include "server/rpc/prompt_report.h"

#include <utility>

#include "server/rpc/token_detail.h"

namespace lockstep::server {

PromptReport::PromptReport(const TextModel& text, bool wanted, bool logprobs,
                           absl::Span<const int32_t> prompt)
    : text_(text), num_missing_(logprobs ? prompt.size() - 1 : 0) {
  if (!wanted) return;
  worker::v1::SampledToken token;
  for (const int32_t id : prompt) {
    token.set_token_id(static_cast<uint32_t>(id));
    details_.push_back(DescribeToken(text_, token, /*logprobs=*/false));
  }
}

void PromptReport::Add(absl::Span<const worker::v1::SampledToken> tokens) {
  for (const worker::v1::SampledToken& token : tokens) {
    if (token.position() >= details_.size() || num_missing_ == 0) return;
    details_[token.position()] = DescribeToken(text_, token, /*logprobs=*/true);
    --num_missing_;
  }
}

void PromptReport::TakeInto(v1::Started& started) {
  for (v1::TokenDetail& detail : details_) *started.add_prompt_tokens() = std::move(detail);
  details_.clear();
}

}  // namespace lockstep::server
