// The client's way to the server: channel, stubs, waiting while it loads, and output of errors and
// messages.
#ifndef LOCKSTEP_CLIENT_CONNECTION_H_
#define LOCKSTEP_CLIENT_CONNECTION_H_

#include <memory>
#include <string>

#include "client/command.h"
#include "google/protobuf/message.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "lockstep/v1/admin.grpc.pb.h"
#include "lockstep/v1/inference.grpc.pb.h"

namespace lockstep::client {

class Connection {
 public:
  explicit Connection(const CommandContext& options);

  v1::Inference::Stub& inference() { return *inference_; }
  v1::Admin::Stub& admin() { return *admin_; }

  // Returns when the server is ready, and says on stderr what is waited for. --wait limits all
  // waiting. Without it nobody waits for a server that is not there (UNAVAILABLE), and for one that
  // loads as long as --timeout says, else as long as it does so. DEADLINE_EXCEEDED for a server
  // that does not answer at all.
  grpc::Status WaitUntilReady();

  // For calls that a server answers while it loads: waits, at most as long as --wait says, for one
  // that is not there yet. Whether it has come, the call itself shows.
  void WaitUntilConnected();

  // Applies --timeout.
  void SetDeadline(grpc::ClientContext& context) const;

  // Writes the error to stderr (with --json to stdout, as JSON) and returns the exit code.
  int Fail(const grpc::Status& status) const;

  const CommandContext& options() const { return options_; }

 private:
  const CommandContext& options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

// One line such as "loading: rank 0  43% of 1.20 GB · rank 1  40% of 1.20 GB".
std::string DescribeLoading(const v1::GetServerInfoResponse& info);

// A message as one line of JSON, with the field names of the .proto files; bytes in base64.
std::string ToJson(const google::protobuf::Message& message);

}  // namespace lockstep::client

#endif  // LOCKSTEP_CLIENT_CONNECTION_H_
