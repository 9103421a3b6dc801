// A "model" whose answers are a hash of the tokens before them: what a request must get, whatever
// runs beside it.
#ifndef LOCKSTEP_TESTS_TESTING_FAKE_MODEL_H_
#define LOCKSTEP_TESTS_TESTING_FAKE_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "lockstep/worker/v1/control_link.pb.h"

namespace lockstep::testing {

// The token after `tokens`. Heeds seed (where the temperature is not 0), min_new_tokens and
// end_token_ids.
int32_t FakeNextToken(absl::Span<const int32_t> tokens, const worker::v1::Sampling& sampling,
                      int32_t vocab_size);

// The first token from `token` on, round the vocabulary, that `mask` (as SlotMask.allowed) allows.
int32_t NextAllowedToken(int32_t token, const std::string& mask, int32_t vocab_size);

// [vocab_size], of the last of `tokens`.
std::vector<float> FakeLogits(absl::Span<const int32_t> tokens, int32_t vocab_size);

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_FAKE_MODEL_H_
