#include "client/answer_stream.h"

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
  std::atomic<bool> interrupted = false;
  std::optional<ScopedInterrupt> interrupt(std::in_place, context.interrupts, [&](int) {
    interrupted = true;
    call.TryCancel();
  });
  const auto start = Clock::now();
  auto reader = connection.inference().GenerateStream(&call, request);
  v1::GenerateStreamResponse event;
  while (reader->Read(&event)) {
    ShowEvent(context, event);
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
  answer.interrupted = interrupted;
  return answer;
}

void AnswerFigures::Add(const v1::Finished& finished) {
  num_tokens += finished.usage().completion_tokens();
  reasons.push_back(finished.reason());
}

std::string DescribeAnswer(const AnswerFigures& figures) {
  // Where it is known when the first token came: of those behind it, and of the time since.
  const uint32_t first = figures.seconds_to_first_token.has_value() ? 1 : 0;
  const double seconds = figures.seconds - figures.seconds_to_first_token.value_or(0);
  const double rate =
      figures.num_tokens > first && seconds > 0 ? (figures.num_tokens - first) / seconds : 0;
  const std::string time =
      figures.seconds_to_first_token.has_value()
          ? absl::StrFormat("first after %.0f ms", *figures.seconds_to_first_token * 1e3)
          : absl::StrFormat("%.2f s", figures.seconds);
  return absl::StrFormat(
      "%u tokens · %.1f tok/s · %s · ended by %s", figures.num_tokens, rate, time,
      absl::StrJoin(figures.reasons, ", ", [](std::string* out, v1::FinishReason reason) {
        out->append(v1::FinishReason_Name(reason));
      }));
}

}  // namespace lockstep::client
