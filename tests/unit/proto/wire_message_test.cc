#include "proto/wire_message.h"

#include <grpcpp/support/proto_buffer_reader.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/v1/inference.pb.h"

namespace lockstep {
namespace {

grpc::Slice Copied(const std::string& bytes) { return grpc::Slice(bytes); }

TEST(WireMessageTest, IsParsedAsTheMessageThatItStandsFor) {
  v1::ForwardResponse expected;
  expected.mutable_duration()->set_nanos(5);
  WireMessage response;
  response.AddFields(expected);
  // Lengths of one, two and three bytes.
  for (const int64_t num_floats : {1, 50, 10'000}) {
    v1::LogitsTensor tensor;
    tensor.add_shape(1);
    tensor.add_shape(num_floats);
    WireMessage encoded;
    encoded.AddFields(tensor);
    const std::string first(static_cast<size_t>(num_floats), 'a');
    const std::string second(static_cast<size_t>(3 * num_floats), 'b');
    encoded.AddBytes(v1::LogitsTensor::kLogitsFieldNumber, {Copied(first), Copied(second)});
    response.AddMessage(v1::ForwardResponse::kOutputsFieldNumber, std::move(encoded));
    tensor.set_logits(first + second);
    *expected.add_outputs() = tensor;
  }
  const std::size_t size = response.size();
  grpc::ByteBuffer bytes = response.Take();
  EXPECT_EQ(bytes.Length(), size);
  EXPECT_EQ(size, expected.ByteSizeLong());
  EXPECT_EQ(response.size(), 0U);
  grpc::ProtoBufferReader reader(&bytes);
  v1::ForwardResponse parsed;
  ASSERT_TRUE(parsed.ParseFromZeroCopyStream(&reader));
  EXPECT_EQ(parsed.SerializeAsString(), expected.SerializeAsString());
}

TEST(WireMessageTest, AMessageWithoutFieldsIsEmpty) {
  WireMessage message;
  message.AddFields(v1::ForwardResponse());
  EXPECT_EQ(message.Take().Length(), 0U);
}

TEST(WireMessageTest, ASliceKeepsItsOwnerAndCopiesNothing) {
  auto owner = std::make_shared<const std::string>(1000, 'x');
  const std::weak_ptr<const std::string> watch = owner;
  {
    WireMessage message;
    message.AddBytes(1, {SliceOf(owner->data(), owner->size(), owner)});
    const void* const memory = owner->data();
    owner.reset();
    const grpc::ByteBuffer bytes = message.Take();
    EXPECT_FALSE(watch.expired());
    std::vector<grpc::Slice> slices;
    ASSERT_TRUE(bytes.Dump(&slices).ok());
    EXPECT_EQ(slices.back().begin(), memory);
  }
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace lockstep
