#include "server/rpc/message_codec.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/admission/field_error.h"
#include "server/rpc/utf8.h"

namespace lockstep::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// Deep enough for every message of ours; google.protobuf.Struct may nest without end.
constexpr int kMaxDepth = 100;

struct Utf8Fault {
  std::string field;
  std::size_t offset;
};

std::optional<Utf8Fault> FindUtf8Fault(const std::string& bytes, const Descriptor& type,
                                       const std::string& prefix, int depth);

std::optional<Utf8Fault> FindUtf8FaultInField(const std::string& value,
                                              const FieldDescriptor& field, const std::string& path,
                                              int depth) {
  if (field.type() == FieldDescriptor::TYPE_MESSAGE) {
    return FindUtf8Fault(value, *field.message_type(), absl::StrCat(path, "."), depth + 1);
  }
  if (field.type() != FieldDescriptor::TYPE_STRING) return std::nullopt;
  const std::size_t valid = ValidUtf8Prefix(value);
  if (valid == value.size()) return std::nullopt;
  return Utf8Fault{path, valid};
}

// Walks the wire format beside the descriptor: the strings are looked at as bytes, so nothing fails
// to parse.
std::optional<Utf8Fault> FindUtf8Fault(const std::string& bytes, const Descriptor& type,
                                       const std::string& prefix, int depth) {
  UnknownFieldSet fields;
  if (depth > kMaxDepth || !fields.ParseFromString(bytes)) return std::nullopt;
  std::vector<int> seen(type.field_count(), 0);
  for (int i = 0; i < fields.field_count(); ++i) {
    const UnknownField& value = fields.field(i);
    const FieldDescriptor* field = type.FindFieldByNumber(value.number());
    if (field == nullptr || value.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    std::string path = prefix + field->name();
    if (field->is_repeated()) absl::StrAppend(&path, "[", seen[field->index()]++, "]");
    if (auto fault = FindUtf8FaultInField(value.length_delimited(), *field, path, depth))
      return fault;
  }
  return std::nullopt;
}

std::string Flatten(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string flat;
  if (!bytes.Dump(&slices).ok()) return flat;
  flat.reserve(bytes.Length());
  for (const auto& slice : slices)
    flat.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return flat;
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  // The deserializer takes the buffer's contents away; a copy shares its slices and costs no copy
  // of the bytes.
  grpc::ByteBuffer copy = bytes;
  if (grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&copy, &message)
          .ok()) {
    return absl::OkStatus();
  }
  const auto fault = FindUtf8Fault(Flatten(bytes), *message.GetDescriptor(), "", 0);
  if (fault.has_value()) {
    return InvalidField(fault->field,
                        absl::StrCat("is not valid UTF-8 at byte ", fault->offset,
                                     "; encode the text as UTF-8, or send token ids"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the request's ", bytes.Length(), " bytes are not a valid ",
                   message.GetDescriptor()->full_name(),
                   "; was the client built from another version of the .proto files?"));
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  // Fails only for messages of over 2 GiB, which admission does not let come about.
  const auto status = grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(
      message, &bytes, &own_buffer);
  if (!status.ok()) bytes.Clear();
  return bytes;
}

}  // namespace lockstep::server
