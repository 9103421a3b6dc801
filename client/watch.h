// What `lockstep status --watch` shows.
#ifndef LOCKSTEP_CLIENT_WATCH_H_
#define LOCKSTEP_CLIENT_WATCH_H_

#include <optional>
#include <string>

#include "client/command.h"
#include "client/connection.h"
#include "lockstep/v1/admin.pb.h"

namespace lockstep::client {

// A state as people read it: "ready".
std::string StateName(v1::PoolState state);

// Two looks at the server, so many seconds apart; rates are what happened between them.
struct WatchFrame {
  v1::GetServerInfoResponse info;
  // None at the first look, and after the server was started again.
  std::optional<v1::GetServerInfoResponse> before;
  double seconds = 0;
};

// Several lines for a terminal: state, rates, queue, KV cache and ranks.
std::string DrawFrame(const WatchFrame& frame);
// One line for a log.
std::string DescribeFrame(const WatchFrame& frame);

// Shows a frame every `interval` seconds until Ctrl-C, or until stdout cannot be written: on a
// terminal in place, elsewhere line by line. A server that is not there is waited for. Returns an
// exit code.
int Watch(CommandContext& context, Connection& connection, double interval);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_WATCH_H_
