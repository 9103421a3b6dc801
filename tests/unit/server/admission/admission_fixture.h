// An Admission in front of a text model of bytes, and requests in text format.
#ifndef LOCKSTEP_TESTS_UNIT_SERVER_ADMISSION_ADMISSION_FIXTURE_H_
#define LOCKSTEP_TESTS_UNIT_SERVER_ADMISSION_ADMISSION_FIXTURE_H_

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "server/admission/admission.h"
#include "server/admission/field_error.h"
#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {

// The field that a refusal names.
inline std::string FieldOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kBadRequestUrl);
  google::rpc::BadRequest details;
  if (!payload.has_value() || !details.ParseFromString(std::string(*payload))) return "";
  return details.field_violations_size() == 1 ? details.field_violations(0).field() : "";
}

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

class AdmissionTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(text_, nullptr); }

  absl::StatusOr<AdmittedGeneration> Admit(const v1::GenerateRequest& request) {
    lease_ = RequestIdLease();
    auto lease = admission_.Open(request, [] {});
    if (!lease.ok()) return lease.status();
    lease_ = *std::move(lease);
    return admission_.Admit(request, times_, lease_.id(), /*guide=*/nullptr);
  }
  absl::StatusOr<AdmittedGeneration> Admit(const std::string& text_format) {
    return Admit(Parse<v1::GenerateRequest>(text_format));
  }
  absl::StatusOr<AdmittedForward> AdmitForward(const std::string& text_format) {
    return admission_.Admit(Parse<v1::ForwardRequest>(text_format), times_, [] {});
  }
  void ExpectRefused(const v1::GenerateRequest& request, absl::StatusCode code,
                     const std::string& field) {
    const absl::Status status = Admit(request).status();
    EXPECT_EQ(status.code(), code) << request.ShortDebugString() << "\n" << status;
    EXPECT_EQ(FieldOf(status), field) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(field));
  }
  void ExpectInvalid(const std::string& text_format, const std::string& field) {
    ExpectRefused(Parse<v1::GenerateRequest>(text_format), absl::StatusCode::kInvalidArgument,
                  field);
  }

  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
  ServedModel model_{"bytes", kByteVocabSize, /*max_model_len=*/64, {}};
  Admission admission_{model_, *text_, /*max_alive=*/100};
  // Of the newest request.
  RequestIdLease lease_;
  const CallTimes times_{absl::FromUnixSeconds(1000), absl::FromUnixSeconds(1060)};
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_TESTS_UNIT_SERVER_ADMISSION_ADMISSION_FIXTURE_H_
