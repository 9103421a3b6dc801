#include "server/engine/guided_answer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace lockstep::server {
namespace {

absl::Status GuideError(absl::string_view problem) {
  absl::Status status = absl::InvalidArgumentError(problem);
  status.SetPayload(kGuideErrorUrl, absl::Cord());
  return status;
}

absl::Status CannotGoOn(const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) return GuideError(status.message());
  return GuideError(absl::StrCat("became too complex in the course of the answer (",
                                 status.message(), "): simplify it"));
}

}  // namespace

GuidedAnswer::GuidedAnswer(RequestHandle handle, std::shared_ptr<const Guide> guide,
                           int32_t vocab_size, Executor& executor,
                           const std::function<void(GuideStep)>& on_step)
    : handle_(handle),
      guide_(std::move(guide)),
      vocab_size_(vocab_size),
      strand_(executor),
      on_step_(on_step) {}

void GuidedAnswer::Begin(int32_t position) { Post(std::nullopt, position); }

void GuidedAnswer::Accept(int32_t token, int32_t position) { Post(token, position); }

void GuidedAnswer::Post(std::optional<int32_t> token, int32_t position) {
  strand_.Post([self = shared_from_this(), token, position] {
    if (self->cancelled_) return;
    GuideStep step;
    step.handle = self->handle_;
    step.position = position;
    step.status = self->Advance(token, step);
    self->on_step_(std::move(step));
  });
}

absl::Status GuidedAnswer::Advance(std::optional<int32_t> token, GuideStep& step) {
  if (!token.has_value()) {
    absl::StatusOr<GuideState> state = guide_->Start();
    if (!state.ok()) return state.status();
    state_ = *std::move(state);
  } else {
    const absl::StatusOr<bool> complete = state_->Accept(*token);
    if (!complete.ok()) return CannotGoOn(complete.status());
    step.complete = *complete;
  }
  return step.complete ? absl::OkStatus() : ComputeMask(step.mask);
}

absl::Status GuidedAnswer::ComputeMask(std::string& mask) {
  std::vector<uint32_t> words(static_cast<size_t>(vocab_size_ + 31) / 32);
  if (absl::Status status = state_->ComputeMask(absl::MakeSpan(words)); !status.ok()) {
    return CannotGoOn(status);
  }
  if (std::all_of(words.begin(), words.end(), [](uint32_t word) { return word == 0; })) {
    return GuideError("asks for text that the model's vocabulary cannot spell");
  }
  mask.assign(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint32_t));
  return absl::OkStatus();
}

}  // namespace lockstep::server
