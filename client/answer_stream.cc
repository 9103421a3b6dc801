#include "client/answer_stream.h"

#include <atomic>
#include <chrono>
#include <iostream>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"

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
      if (answer.seconds_to_first_token == 0) answer.seconds_to_first_token = SecondsSince(start);
      if (event.delta().index() == 0) answer.text += event.delta().text();
    } else if (event.has_finished() && event.finished().index() == 0) {
      answer.finished = event.finished();
      answer.stopped_by_server = true;
    }
  }
  answer.status = reader->Finish();
  answer.seconds = SecondsSince(start);
  interrupt.reset();
  answer.interrupted = interrupted;
  return answer;
}

std::string DescribeAnswer(const Answer& answer) {
  const uint32_t tokens = answer.finished.usage().completion_tokens();
  const double decoding = answer.seconds - answer.seconds_to_first_token;
  const double rate = tokens > 1 && decoding > 0 ? (tokens - 1) / decoding : 0;
  return absl::StrFormat("%u tokens · %.1f tok/s · first after %.0f ms · ended by %s", tokens, rate,
                         answer.seconds_to_first_token * 1e3,
                         v1::FinishReason_Name(answer.finished.reason()));
}

}  // namespace lockstep::client
