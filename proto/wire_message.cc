#include "proto/wire_message.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <array>
#include <cstdint>
#include <string>
#include <utility>

namespace lockstep {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;

constexpr std::size_t kMaxTagBytes = 5;
constexpr std::size_t kMaxLengthBytes = 10;

// What stands in front of a field of `size` bytes.
grpc::Slice Head(int field_number, std::size_t size) {
  std::array<uint8_t, kMaxTagBytes + kMaxLengthBytes> bytes;
  const uint32_t tag =
      WireFormatLite::MakeTag(field_number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  uint8_t* end = CodedOutputStream::WriteVarint32ToArray(tag, bytes.data());
  end = CodedOutputStream::WriteVarint64ToArray(size, end);
  return grpc::Slice(bytes.data(), static_cast<std::size_t>(end - bytes.data()));
}

}  // namespace

void WireMessage::Add(grpc::Slice slice) {
  size_ += slice.size();
  slices_.push_back(std::move(slice));
}

void WireMessage::AddFields(const google::protobuf::MessageLite& fields) {
  const std::string bytes = fields.SerializeAsString();
  if (!bytes.empty()) Add(grpc::Slice(bytes));
}

void WireMessage::AddBytes(int field_number, std::vector<grpc::Slice> pieces) {
  std::size_t size = 0;
  for (const grpc::Slice& piece : pieces) size += piece.size();
  Add(Head(field_number, size));
  for (grpc::Slice& piece : pieces) Add(std::move(piece));
}

void WireMessage::AddMessage(int field_number, WireMessage message) {
  AddBytes(field_number, std::move(message.slices_));
}

grpc::ByteBuffer WireMessage::Take() {
  grpc::ByteBuffer bytes(slices_.data(), slices_.size());
  slices_.clear();
  size_ = 0;
  return bytes;
}

grpc::Slice SliceOf(const void* data, std::size_t size, std::shared_ptr<const void> owner) {
  using Owner = std::shared_ptr<const void>;
  // gRPC only reads it.
  return grpc::Slice(
      const_cast<void*>(data), size, [](void* held) { delete static_cast<Owner*>(held); },
      new Owner(std::move(owner)));
}

}  // namespace lockstep
