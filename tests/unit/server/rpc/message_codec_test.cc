#include "server/rpc/message_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/rpc/error_details.pb.h"
#include "lockstep/v1/generate.pb.h"
#include "server/admission/field_error.h"
#include "server/rpc/utf8.h"

namespace lockstep::server {
namespace {

using ::testing::HasSubstr;

grpc::ByteBuffer Bytes(const std::string& bytes) {
  grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status ParseStatus(const std::string& bytes) {
  v1::GenerateRequest request;
  return ParseMessage(Bytes(bytes), request);
}

std::string FieldOf(const absl::Status& status) {
  google::rpc::BadRequest details;
  const auto payload = status.GetPayload(kBadRequestUrl);
  if (!payload || !details.ParseFromString(std::string(*payload)) ||
      details.field_violations_size() != 1)
    return "";
  return details.field_violations(0).field();
}

// Replaces the placeholder "?!" in the wire bytes by two that are no UTF-8.
std::string Spoil(const v1::GenerateRequest& request) {
  std::string bytes = request.SerializeAsString();
  bytes.replace(bytes.find("?!"), 2, "\xC3\x28");
  return bytes;
}

TEST(MessageCodec, ReadsWhatItWrites) {
  v1::GenerateRequest request, parsed;
  request.set_text("grüße");
  request.mutable_sampling()->set_top_k(0);
  ASSERT_TRUE(ParseMessage(SerializeMessage(request), parsed).ok());
  EXPECT_EQ(parsed.SerializeAsString(), request.SerializeAsString());
  EXPECT_TRUE(parsed.sampling().has_top_k());
}

TEST(MessageCodec, AnEmptyBufferIsAnEmptyMessage) { EXPECT_TRUE(ParseStatus("").ok()); }

TEST(MessageCodec, NamesTheFieldThatIsNotUtf8) {
  v1::GenerateRequest text, stop, chat, variables;
  text.set_text("abc ?!");
  const absl::Status status = ParseStatus(Spoil(text));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "text");
  EXPECT_THAT(std::string(status.message()), HasSubstr("at byte 4"));

  stop.mutable_stopping()->add_stop_strings("fine");
  stop.mutable_stopping()->add_stop_strings("?!");
  EXPECT_EQ(FieldOf(ParseStatus(Spoil(stop))), "stopping.stop_strings[1]");

  chat.mutable_chat()->add_messages()->set_role("user");
  chat.mutable_chat()->add_messages()->set_content("?!");
  EXPECT_EQ(FieldOf(ParseStatus(Spoil(chat))), "chat.messages[1].content");

  (*chat.mutable_chat()->mutable_template_variables()->mutable_fields())["?!"].set_bool_value(true);
  chat.mutable_chat()->clear_messages();
  EXPECT_EQ(FieldOf(ParseStatus(Spoil(chat))), "chat.template_variables.fields[0].key");
}

TEST(MessageCodec, RefusesBytesThatAreNoMessage) {
  for (const std::string& bytes :
       {std::string("\x0a\xff\xff\xff\xff\x0f"), std::string(100, '\xff'),
        std::string("\x0a\x05"
                    "ab"),
        std::string("\x07")}) {
    const absl::Status status = ParseStatus(bytes);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("lockstep.v1.GenerateRequest"));
  }
}

TEST(MessageCodec, RefusesNestingWithoutEnd) {
  v1::GenerateRequest request;
  google::protobuf::Value* value =
      &(*request.mutable_chat()->mutable_template_variables()->mutable_fields())["x"];
  for (int i = 0; i < 500; ++i) value = value->mutable_list_value()->add_values();
  EXPECT_EQ(ParseStatus(request.SerializeAsString()).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Utf8, FindsTheFirstByteThatIsNone) {
  EXPECT_EQ(ValidUtf8Prefix("aé€😀"), 10u);
  const std::string bad[] = {"\x80",
                             "\xC0\x80",
                             "\xC3",
                             "\xE0\x80\x80",
                             "\xED\xA0\x80",
                             "\xF0\x80\x80\x80",
                             "\xF4\x90\x80\x80",
                             "\xF5\x80\x80\x80",
                             "\xE2\x82",
                             "\xFF"};
  for (const std::string& bytes : bad) EXPECT_EQ(ValidUtf8Prefix("ok" + bytes), 2u) << bytes;
}

}  // namespace
}  // namespace lockstep::server
