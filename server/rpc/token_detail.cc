#include "server/rpc/token_detail.h"

namespace lockstep::server {

v1::TokenDetail DescribeToken(const TextModel& text, const worker::v1::SampledToken& token,
                              bool logprobs) {
  v1::TokenDetail detail;
  detail.set_id(token.token_id());
  detail.set_bytes(text.TokenBytes(static_cast<int32_t>(token.token_id())));
  if (!logprobs) return detail;
  detail.set_logprob(token.logprob());
  detail.set_rank(token.rank());
  for (const auto& alternative : token.top()) {
    v1::TopToken& top = *detail.add_top();
    top.set_id(alternative.token_id());
    top.set_bytes(text.TokenBytes(static_cast<int32_t>(alternative.token_id())));
    top.set_logprob(alternative.logprob());
  }
  return detail;
}

}  // namespace lockstep::server
