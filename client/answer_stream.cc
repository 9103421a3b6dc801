#include "client/answer_stream.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iostream>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace lockstep::client {
namespace {

using Clock = std::chrono::steady_clock;

double ToSeconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Text of several sequences would interleave: only the first is shown as it comes.
void ShowEvent(const CommandContext& context, const v1::GenerateStreamResponse& event) {
  if (context.json) {
    std::cout << ToJson(event) << std::endl;
  } else if (event.has_delta() && event.delta().index() == 0) {
    std::cout << event.delta().text() << std::flush;
  }
}

}  // namespace

Answer StreamAnswer(CommandContext& context, Connection& connection,
                    const v1::GenerateRequest& request) {
  grpc::ClientContext call;
  connection.SetDeadline(call);
  Answer answer;
  AnswerFigures& figures = answer.figures;
  std::atomic<int> interrupted_by = 0;
  std::optional<ScopedInterrupt> interrupt(std::in_place, context.interrupts, [&](int signal) {
    interrupted_by = signal;
    call.TryCancel();
  });
  const auto start = Clock::now();
  auto reader = connection.inference().GenerateStream(&call, request);
  v1::GenerateStreamResponse event;
  while (reader->Read(&event)) {
    ShowEvent(context, event);
    if (!std::cout) call.TryCancel();
    if (event.has_delta()) {
      if (!figures.seconds_to_first_token) figures.seconds_to_first_token = SecondsSince(start);
      if (event.delta().index() == 0) answer.text += event.delta().text();
    } else if (event.has_finished()) {
      figures.Add(event.finished());
    }
  }
  answer.status = reader->Finish();
  figures.seconds = SecondsSince(start);
  interrupt.reset();
  answer.interrupted_by = interrupted_by;
  return answer;
}

void AnswerFigures::Add(const v1::Finished& finished) {
  num_tokens += finished.usage().completion_tokens();
  reasons.push_back(finished.reason());
  const v1::Timing& timing = finished.timing();
  if (!timing.has_decode()) return;
  const double first = ToSeconds(timing.queue()) + ToSeconds(timing.prefill());
  first_token_ = std::min(first_token_.value_or(first), first);
  last_token_ = std::max(last_token_, first + ToSeconds(timing.decode()));
  decode_seconds = last_token_ - *first_token_;
}

std::string DescribeAnswer(const AnswerFigures& figures) {
  std::string rate;
  if (figures.num_tokens > 1 && figures.decode_seconds > 0) {
    rate = absl::StrFormat("%.1f tok/s · ", (figures.num_tokens - 1) / figures.decode_seconds);
  }
  const std::string time =
      figures.seconds_to_first_token.has_value()
          ? absl::StrFormat("first after %.0f ms", *figures.seconds_to_first_token * 1e3)
          : absl::StrFormat("%.2f s", figures.seconds);
  return absl::StrFormat(
      "%u tokens · %s%s · ended by %s", figures.num_tokens, rate, time,
      absl::StrJoin(figures.reasons, ", ", [](std::string* out, v1::FinishReason reason) {
        out->append(v1::FinishReason_Name(reason));
      }));
}

}  // namespace lockstep::client
