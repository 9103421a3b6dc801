// Messages around memory that is sent as it lies, where Protobuf would copy it.
#ifndef LOCKSTEP_PROTO_WIRE_MESSAGE_H_
#define LOCKSTEP_PROTO_WIRE_MESSAGE_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace lockstep {

// The encoding of one message, field after field, whose large fields are slices. The fields may
// come in any order: readers take them in any.
class WireMessage {
 public:
  // Encodes the fields that are set in `fields`, a message of this type.
  void AddFields(const google::protobuf::MessageLite& fields);
  // A field of type bytes: the pieces, one after the other.
  void AddBytes(int field_number, std::vector<grpc::Slice> pieces);
  // A field of a message's type.
  void AddMessage(int field_number, WireMessage message);

  std::size_t size() const { return size_; }
  // The bytes, for gRPC; leaves nothing here.
  grpc::ByteBuffer Take();

 private:
  void Add(grpc::Slice slice);

  std::vector<grpc::Slice> slices_;
  std::size_t size_ = 0;
};

// [data, data + size) as a slice that keeps `owner` until gRPC is done with it. Thread-safe in that
// gRPC lets go of it on a thread of its own.
grpc::Slice SliceOf(const void* data, std::size_t size, std::shared_ptr<const void> owner);

}  // namespace lockstep

#endif  // LOCKSTEP_PROTO_WIRE_MESSAGE_H_
