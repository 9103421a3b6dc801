// One streamed answer: sends the request, shows the text as it comes, and stops on Ctrl-C.
#ifndef LOCKSTEP_CLIENT_ANSWER_STREAM_H_
#define LOCKSTEP_CLIENT_ANSWER_STREAM_H_

#include <string>

#include "client/command.h"
#include "client/connection.h"
#include "lockstep/v1/generate.pb.h"

namespace lockstep::client {

struct Answer {
  grpc::Status status;
  // Of sequence 0; what came before an error or Ctrl-C too.
  std::string text;
  v1::Finished finished;
  bool interrupted = false;
  bool stopped_by_server = false;  // a Finished came
  double seconds = 0;
  double seconds_to_first_token = 0;
};

// Streams one answer. With --json every event is one line of JSON on stdout; otherwise the text is.
Answer StreamAnswer(CommandContext& context, Connection& connection,
                    const v1::GenerateRequest& request);

// For example "64 tokens · 41.3 tok/s · first after 52 ms · stopped at EOS".
std::string DescribeAnswer(const Answer& answer);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_ANSWER_STREAM_H_
