#include "server/engine/guided_requests.h"

#include <utility>
#include <variant>

namespace lockstep::server {

GuidedRequests::GuidedRequests(const Options& options, std::function<void(GuideStep)> on_step)
    : options_(options), on_step_(std::move(on_step)), executor_(options.num_threads) {}

void GuidedRequests::Add(RequestHandle handle, const EngineRequest& request) {
  if (request.guide == nullptr) return;
  auto answer = std::make_shared<GuidedAnswer>(handle, request.guide, options_.vocab_size,
                                               executor_, on_step_);
  // Long before the prompt has run.
  answer->Begin(static_cast<int32_t>(request.prompt.size()));
  answers_[handle] = std::move(answer);
  board_.Add(handle);
}

void GuidedRequests::Take(const std::vector<Event>& events) {
  if (answers_.empty()) return;
  for (const Event& event : events) {
    if (const auto* taken = std::get_if<TokenEvent>(&event.what)) {
      const auto it = answers_.find(event.handle);
      if (it == answers_.end()) continue;
      it->second->Accept(static_cast<int32_t>(taken->token.token_id()),
                         static_cast<int32_t>(taken->token.position()) + 1);
    } else if (std::holds_alternative<Completion>(event.what)) {
      Remove(event.handle);
    }
  }
}

void GuidedRequests::Remove(RequestHandle handle) {
  const auto it = answers_.find(handle);
  if (it == answers_.end()) return;
  it->second->Cancel();
  answers_.erase(it);
  board_.Remove(handle);
}

void GuidedRequests::AddRows(const std::vector<GuidedRow>& rows) {
  for (const GuidedRow& row : rows) board_.AddRow(row);
}

void GuidedRequests::Take(GuideStep step) {
  board_.SetMask(step.handle, step.position, std::move(step.mask));
}

std::vector<RequestHandle> GuidedRequests::TakeLate(uint64_t last_step, absl::Time now) {
  const std::optional<uint64_t> waiting = board_.waiting_step();
  if (!waiting.has_value() || *waiting != last_step + 1) {
    // The workers are not there yet.
    due_step_.reset();
    deadline_ = absl::InfiniteFuture();
    return {};
  }
  if (due_step_ != waiting) {
    due_step_ = waiting;
    deadline_ = now + options_.patience;
  }
  if (now < deadline_) return {};
  std::vector<RequestHandle> late = board_.Missing();
  for (RequestHandle handle : late) board_.DropRows(handle);
  return late;
}

}  // namespace lockstep::server
