// What a worker reports of a step, in Protobuf's text format, up to what clients get of it.
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "server/scheduler/scheduler.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/text_format.h"
#include "tests/testing/whole_result.h"

namespace lockstep::server {
namespace {

constexpr uint32_t kVocabSize = 8;

std::shared_ptr<const EngineRequest> MakeRequest(RequestHandle handle) {
  auto request = std::make_shared<EngineRequest>();
  request->prompt = {1, 2, 3, static_cast<int32_t>(handle)};
  request->max_new_tokens = 4;
  if (handle == 2) request->logits = worker::v1::LOGITS_ALL;
  if (handle == 3) request->num_prompt_logprobs = 1;
  return request;
}

// A token of a result that was taken.
void CheckToken(const worker::v1::SampledToken& token) {
  if (token.token_id() >= kVocabSize) std::abort();
  for (const worker::v1::TokenLogprob& other : token.top()) {
    if (other.token_id() >= kVocabSize) std::abort();
  }
}

void ApplyText(const std::string& text) {
  worker::v1::StepResult result;
  if (!testing::ParseText(text, result)) return;
  for (const worker::v1::SlotLogits& logits : result.logits()) {
    if (logits.has_shared()) return;  // there is no shared memory here
  }
  SchedulerOptions options;
  options.max_num_seqs = 4;
  options.max_model_len = 256;
  options.vocab_size = kVocabSize;
  Scheduler scheduler(options);
  scheduler.Start(static_cast<uint32_t>(options.max_model_len / options.block_size));
  for (RequestHandle handle = 1; handle <= 3; ++handle) {
    if (!scheduler.Add(handle, MakeRequest(handle)).ok()) std::abort();
  }
  if (!scheduler.Schedule(absl::UnixEpoch()).has_value()) std::abort();
  scheduler.TakeEvents();
  const bool taken =
      scheduler.Apply(testing::WholeResult(std::move(result)), absl::UnixEpoch()).ok();
  if (!taken && !scheduler.events().empty()) std::abort();
  for (const Event& event : scheduler.events()) {
    if (const auto* taken = std::get_if<TokenEvent>(&event.what)) CheckToken(taken->token);
    if (const auto* prompt = std::get_if<PromptTokensEvent>(&event.what)) {
      for (const worker::v1::SampledToken& token : prompt->tokens) CheckToken(token);
    }
  }
}

}  // namespace
}  // namespace lockstep::server

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  lockstep::server::ApplyText(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
