#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/server/admission/admission_fixture.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ForwardAdmissionTest : public AdmissionTest {};

TEST_F(ForwardAdmissionTest, MakesOneEngineRequestPerPrompt) {
  const auto admitted =
      AdmitForward("prompts { ids: [1, 2, 3] } prompts { ids: 4 } all_positions: true");
  ASSERT_TRUE(admitted.ok()) << admitted.status();
  ASSERT_EQ(admitted->requests.size(), 2u);
  EXPECT_THAT(admitted->requests[0]->prompt, ElementsAre(1, 2, 3));
  EXPECT_EQ(admitted->requests[0]->logits, worker::v1::LOGITS_ALL);
  EXPECT_THAT(admitted->num_rows, ElementsAre(3, 1));
  EXPECT_EQ(admitted->num_bytes, 4u * kByteVocabSize * 4);
  EXPECT_EQ(AdmitForward("prompts { ids: [1, 2] }")->requests[0]->logits, worker::v1::LOGITS_LAST);
}

TEST_F(ForwardAdmissionTest, TakesAPromptAsLongAsTheContext) {
  std::string ids = "1";
  for (int i = 1; i < 64; ++i) ids += ", 1";
  EXPECT_TRUE(AdmitForward("prompts { ids: [" + ids + "] }").ok());
  EXPECT_EQ(FieldOf(AdmitForward("prompts { ids: [" + ids + ", 1] }").status()), "prompts[0].ids");
}

TEST_F(ForwardAdmissionTest, RefusesBadPrompts) {
  EXPECT_EQ(FieldOf(AdmitForward("").status()), "prompts");
  EXPECT_EQ(FieldOf(AdmitForward("prompts {}").status()), "prompts[0].ids");
  EXPECT_EQ(FieldOf(AdmitForward("prompts { ids: 1 } prompts { ids: 300 }").status()),
            "prompts[1].ids[0]");
  model_.max_sequences = 2;
  EXPECT_TRUE(AdmitForward("prompts { ids: 1 } prompts { ids: 2 }").ok());
  EXPECT_EQ(
      FieldOf(AdmitForward("prompts { ids: 1 } prompts { ids: 2 } prompts { ids: 3 }").status()),
      "prompts");
}

TEST_F(ForwardAdmissionTest, RefusesAnAnswerBeyondTheLimitNamingTheNumbers) {
  model_.vocab_size = 1 << 20;
  model_.max_model_len = 1 << 20;
  v1::ForwardRequest request;
  request.set_all_positions(true);
  for (int i = 0; i < 257; ++i) request.add_prompts()->add_ids(1);
  const absl::Status status = admission_.Admit(request, times_, [] {}).status();
  EXPECT_EQ(FieldOf(status), "prompts");
  EXPECT_THAT(std::string(status.message()), HasSubstr("1077936128"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("1073741824"));
}

}  // namespace
}  // namespace lockstep::server
