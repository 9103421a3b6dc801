// One streamed answer: sends the request, shows the text as it comes, and stops on Ctrl-C. And what
// there is to say of answers, streamed or not.
#ifndef LOCKSTEP_CLIENT_ANSWER_STREAM_H_
#define LOCKSTEP_CLIENT_ANSWER_STREAM_H_

#include <optional>
#include <string>
#include <vector>

#include "client/command.h"
#include "client/connection.h"
#include "lockstep/v1/generate.pb.h"

namespace lockstep::client {

// Of all sequences of a request.
struct AnswerFigures {
  uint32_t num_tokens = 0;
  // From the first token of all to the last, by the server's clock: tokens may come to the client
  // in bursts. 0 where there are less than two.
  double decode_seconds = 0;
  double seconds = 0;
  // Absent where the answer came whole.
  std::optional<double> seconds_to_first_token;
  std::vector<v1::FinishReason> reasons;  // one a sequence that has ended, in order of their ends

  // Counts a sequence that has ended.
  void Add(const v1::Finished& finished);

 private:
  // Since the request's arrival.
  std::optional<double> first_token_;
  double last_token_ = 0;
};

struct Answer {
  grpc::Status status;
  // Of sequence 0; what came before an error or Ctrl-C too.
  std::string text;
  // What ended it: SIGINT or SIGTERM; 0: neither.
  int interrupted_by = 0;
  AnswerFigures figures;
};

// Streams one answer. With --json every event is one line of JSON on stdout; otherwise the text is.
// Where stdout cannot be written any more the answer is cancelled, as nobody reads it.
Answer StreamAnswer(CommandContext& context, Connection& connection,
                    const v1::GenerateRequest& request);

// For example "64 tokens · 41.3 tok/s · first after 52 ms · ended by EOS", or of two that came
// whole "130 tokens · 82.6 tok/s · 1.57 s · ended by EOS, LENGTH". The rate is that of the tokens
// behind the first one; a single token has none.
std::string DescribeAnswer(const AnswerFigures& figures);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_ANSWER_STREAM_H_
