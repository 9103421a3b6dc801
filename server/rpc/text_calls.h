// Tokenize and Detokenize.
#ifndef LOCKSTEP_SERVER_RPC_TEXT_CALLS_H_
#define LOCKSTEP_SERVER_RPC_TEXT_CALLS_H_

#include "absl/status/statusor.h"
#include "lockstep/v1/inference.pb.h"
#include "server/admission/admission.h"
#include "server/text/text_model.h"

namespace lockstep::server {

absl::StatusOr<v1::TokenizeResponse> Tokenize(const Admission& admission, const TextModel& text,
                                              const v1::TokenizeRequest& request);

absl::StatusOr<v1::DetokenizeResponse> Detokenize(const Admission& admission, const TextModel& text,
                                                  const v1::DetokenizeRequest& request);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_TEXT_CALLS_H_
