// Messages to and from bytes.
//
// The services take raw bytes and parse them here, because gRPC answers a request that it cannot
// parse itself, for example one with invalid UTF-8 in a string, with UNIMPLEMENTED and no text.
#ifndef LOCKSTEP_SERVER_RPC_MESSAGE_CODEC_H_
#define LOCKSTEP_SERVER_RPC_MESSAGE_CODEC_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace lockstep::server {

// INVALID_ARGUMENT; where it is invalid UTF-8 that was wrong, the details name the field.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_RPC_MESSAGE_CODEC_H_
