#include "server/admission/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/field_error.h"
#include "server/admission/limits.h"
#include "server/admission/parameters.h"

namespace lockstep::server {
namespace {

absl::Status CheckParameters(const v1::GenerateRequest& request, const ServedModel& model) {
  absl::Status status = CheckSampling(request.sampling(), model);
  status.Update(CheckStopping(request.stopping(), model));
  status.Update(CheckOutput(request.output()));
  status.Update(CheckOtherOptions(request, model));
  return status;
}

// Where the prompt stands in the request, for errors.
absl::string_view PromptField(const v1::GenerateRequest& request) {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      return "text";
    case v1::GenerateRequest::kTokenIds:
      return "token_ids.ids";
    case v1::GenerateRequest::kChat:
      return "chat";
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return "prompt";
}

AnswerOptions ToAnswerOptions(const v1::GenerateRequest& request) {
  const auto& stopping = request.stopping();
  const auto& output = request.output();
  AnswerOptions options;
  options.stop_strings.assign(stopping.stop_strings().begin(), stopping.stop_strings().end());
  options.include_stop_string = stopping.include_stop_string();
  options.min_new_tokens = static_cast<int32_t>(stopping.min_new_tokens());
  options.skip_special_tokens =
      output.has_skip_special_tokens() ? output.skip_special_tokens() : true;
  options.token_details = output.token_details();
  options.logprobs = output.has_logprobs();
  options.prompt_tokens = output.token_details() || output.has_prompt_logprobs();
  options.echo = output.echo();
  return options;
}

void SetEndTokens(const v1::GenerateRequest& request, const GenerationDefaults& defaults,
                  EngineRequest& engine) {
  if (!request.stopping().ignore_eos()) engine.eos_token_ids = defaults.eos_token_ids;
  const auto& stop = request.stopping().stop_token_ids();
  engine.stop_token_ids.assign(stop.begin(), stop.end());
  auto& end = *engine.sampling.mutable_end_token_ids();
  end.Add(engine.eos_token_ids.begin(), engine.eos_token_ids.end());
  end.Add(engine.stop_token_ids.begin(), engine.stop_token_ids.end());
}

// What the context leaves for the answer bounds max_new_tokens; min_new_tokens must fit.
absl::Status SetLengths(const v1::StoppingParameters& stopping, int32_t max_model_len,
                        EngineRequest& engine) {
  const auto room =
      static_cast<uint32_t>(max_model_len) - static_cast<uint32_t>(engine.prompt.size());
  if (stopping.min_new_tokens() > room) {
    return InvalidField(
        "stopping.min_new_tokens",
        absl::StrCat("is ", stopping.min_new_tokens(), "; after a prompt of ", engine.prompt.size(),
                     " tokens the context of ", max_model_len, " holds ", room, " more; lower it"));
  }
  engine.max_new_tokens = static_cast<int32_t>(
      stopping.has_max_new_tokens() ? std::min(stopping.max_new_tokens(), room) : room);
  engine.min_new_tokens = static_cast<int32_t>(stopping.min_new_tokens());
  return absl::OkStatus();
}

// Tokens that the answer may have, all of them forbidden until it is long enough.
absl::Status CheckMinimumLength(const worker::v1::Sampling& sampling) {
  const auto& allowed = sampling.allowed_token_ids();
  const auto& end = sampling.end_token_ids();
  const bool any_other =
      allowed.empty() || std::any_of(allowed.begin(), allowed.end(), [&](uint32_t id) {
        return std::find(end.begin(), end.end(), id) == end.end();
      });
  if (sampling.min_new_tokens() == 0 || any_other) return absl::OkStatus();
  return InvalidField(
      "sampling.allowed_token_ids",
      absl::StrCat("has nothing but tokens that end the answer, which stopping.min_new_tokens = ",
                   sampling.min_new_tokens(), " forbids; allow another or leave it out"));
}

// The requests of `num_sequences` answers, of which `first` is the first.
std::vector<std::unique_ptr<const EngineRequest>> MakeSequences(
    std::unique_ptr<EngineRequest> first, uint32_t num_sequences) {
  std::vector<std::unique_ptr<const EngineRequest>> sequences;
  for (uint32_t index = 1; index < num_sequences; ++index) {
    auto sequence = std::make_unique<EngineRequest>(*first);
    sequence->sampling.set_seed(SequenceSeed(first->sampling.seed(), index));
    sequence->num_prompt_logprobs.reset();
    sequences.push_back(std::move(sequence));
  }
  sequences.insert(sequences.begin(), std::move(first));
  return sequences;
}

std::optional<std::string> WantedId(const v1::GenerateRequest& request) {
  if (!request.has_request_id()) return std::nullopt;
  return request.request_id();
}

}  // namespace

absl::Status Admission::CheckModel(const std::string& name) const {
  if (name.empty() || name == model_.name) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("model: \"", name.substr(0, 200),
                                          "\" is not served here; this server has \"", model_.name,
                                          "\", which is also what an absent model means"));
}

absl::StatusOr<EncodedPrompt> Admission::EncodePrompt(const v1::GenerateRequest& request) const {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      return encoder_.EncodeText(request.text(), std::nullopt);
    case v1::GenerateRequest::kTokenIds:
      return encoder_.EncodeIds(request.token_ids(), "token_ids");
    case v1::GenerateRequest::kChat:
      return encoder_.EncodeChat(request.chat());
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return InvalidField("prompt", "is missing; set exactly one of text, token_ids, chat");
}

absl::Status Admission::CheckPromptSize(const v1::GenerateRequest& request) const {
  switch (request.prompt_case()) {
    case v1::GenerateRequest::kText:
      return encoder_.CheckSize(request.text());
    case v1::GenerateRequest::kTokenIds:
      return encoder_.CheckSize(request.token_ids(), "token_ids");
    case v1::GenerateRequest::kChat:
      return encoder_.CheckSize(request.chat());
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

absl::StatusOr<RequestIdLease> Admission::Open(const v1::GenerateRequest& request,
                                               RequestIds::OnAbort on_abort) {
  if (auto status = CheckModel(request.model()); !status.ok()) return status;
  if (auto status = CheckParameters(request, model_); !status.ok()) return status;
  if (auto status = CheckPromptSize(request); !status.ok()) return status;
  return ids_.Take(WantedId(request), numbers_, std::move(on_abort));
}

absl::StatusOr<AdmittedGeneration> Admission::Admit(const v1::GenerateRequest& request,
                                                    const CallTimes& times, const std::string& id,
                                                    std::shared_ptr<const Guide> guide) {
  auto prompt = EncodePrompt(request);
  if (!prompt.ok()) return prompt.status();
  if (auto status = encoder_.CheckRoomForAnswer(prompt->token_ids.size(), PromptField(request));
      !status.ok()) {
    return status;
  }

  auto engine = std::make_unique<EngineRequest>();
  engine->id = id;
  engine->prompt = std::move(prompt->token_ids);
  engine->sampling = ResolveSampling(request, model_.defaults, numbers_.Next());
  engine->sampling.set_num_prompt_tokens(static_cast<uint32_t>(engine->prompt.size()));
  SetEndTokens(request, model_.defaults, *engine);
  if (auto status = SetLengths(request.stopping(), model_.max_model_len, *engine); !status.ok())
    return status;
  if (auto status = CheckMinimumLength(engine->sampling); !status.ok()) return status;
  if (request.output().has_prompt_logprobs())
    engine->num_prompt_logprobs = request.output().prompt_logprobs();
  engine->guide = std::move(guide);
  engine->cache_bypass = request.cache().bypass();
  engine->cache_salt = request.cache().salt();
  if (request.num_sequences() > 1) engine->prompt_group = next_prompt_group_.fetch_add(1);
  engine->priority = request.priority();
  engine->arrival = times.arrival;
  engine->deadline = times.deadline;

  AdmittedGeneration admitted;
  admitted.answer = ToAnswerOptions(request);
  admitted.prompt_text = std::move(prompt->text);
  admitted.requests = MakeSequences(std::move(engine), request.num_sequences());
  return admitted;
}

absl::Status Admission::CheckForward(const v1::ForwardRequest& request) const {
  if (request.prompts().empty())
    return InvalidField("prompts", "is empty; a batch needs at least one prompt");
  if (static_cast<std::size_t>(request.prompts_size()) > limits::kForwardPrompts) {
    return InvalidField(
        "prompts", absl::StrCat("has ", request.prompts_size(), " prompts; at most ",
                                limits::kForwardPrompts, " are allowed; send several requests"));
  }
  if (static_cast<uint32_t>(request.prompts_size()) > model_.max_sequences) {
    return InvalidField("prompts",
                        absl::StrCat("has ", request.prompts_size(),
                                     " prompts; this server runs and queues ", model_.max_sequences,
                                     " at most (--max-num-seqs and "
                                     "--max-queued-requests); send several requests"));
  }
  uint64_t num_rows = 0;
  for (int i = 0; i < request.prompts_size(); ++i) {
    const uint64_t length = request.prompts(i).ids_size();
    if (length > static_cast<uint64_t>(model_.max_model_len)) {
      return InvalidField(absl::StrCat("prompts[", i, "].ids"),
                          absl::StrCat("has ", length, " tokens; the context holds ",
                                       model_.max_model_len, "; shorten the prompt"));
    }
    num_rows += request.all_positions() ? length : 1;
  }
  const uint64_t num_bytes = num_rows * model_.vocab_size * sizeof(float);
  if (num_bytes > limits::kForwardResponseBytes) {
    return InvalidField(
        "prompts",
        absl::StrCat("the answer would have ", num_rows, " rows of ", model_.vocab_size,
                     " logits, ", num_bytes, " bytes; at most ", limits::kForwardResponseBytes,
                     " fit an answer; send fewer or shorter prompts",
                     request.all_positions() ? ", or leave out all_positions" : ""));
  }
  return absl::OkStatus();
}

absl::StatusOr<AdmittedForward> Admission::Admit(const v1::ForwardRequest& request,
                                                 const CallTimes& times,
                                                 RequestIds::OnAbort on_abort) {
  if (auto status = CheckModel(request.model()); !status.ok()) return status;
  if (auto status = CheckForward(request); !status.ok()) return status;
  auto lease = ids_.Take(std::nullopt, numbers_, std::move(on_abort));
  if (!lease.ok()) return lease.status();
  AdmittedForward admitted;
  for (int i = 0; i < request.prompts_size(); ++i) {
    auto prompt = encoder_.EncodeIds(request.prompts(i), absl::StrCat("prompts[", i, "]"));
    if (!prompt.ok()) return prompt.status();
    auto engine = std::make_unique<EngineRequest>();
    engine->id = lease->id();
    engine->prompt = std::move(prompt->token_ids);
    engine->sampling.set_num_prompt_tokens(static_cast<uint32_t>(engine->prompt.size()));
    engine->sampling.set_num_logprobs(-1);
    engine->logits = request.all_positions() ? worker::v1::LOGITS_ALL : worker::v1::LOGITS_LAST;
    // A pass over the whole prompt is what is asked for, and timed.
    engine->cache_bypass = true;
    engine->arrival = times.arrival;
    engine->deadline = times.deadline;
    const int64_t num_rows =
        request.all_positions() ? static_cast<int64_t>(engine->prompt.size()) : 1;
    admitted.num_rows.push_back(num_rows);
    admitted.num_bytes += static_cast<uint64_t>(num_rows) * model_.vocab_size * sizeof(float);
    admitted.requests.push_back(std::move(engine));
  }
  admitted.lease = *std::move(lease);
  return admitted;
}

}  // namespace lockstep::server
