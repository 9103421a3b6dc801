// What clients are told about a token.
#ifndef LOCKSTEP_SERVER_RPC_TOKEN_DETAIL_H_
#define LOCKSTEP_SERVER_RPC_TOKEN_DETAIL_H_

#include "lockstep/v1/prompt.pb.h"
#include "lockstep/worker/v1/control_link.pb.h"
#include "server/text/text_model.h"

namespace lockstep::server {

// Id and bytes; with `logprobs` also what the workers report about the token.
v1::TokenDetail DescribeToken(const TextModel& text, const worker::v1::SampledToken& token,
                              bool logprobs);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_TOKEN_DETAIL_H_
