#include "server/worker_pool/step_result.h"

#include <gtest/gtest.h>

#include <string>

namespace lockstep::server {
namespace {

worker::v1::StepResult Message() {
  worker::v1::StepResult message;
  message.set_step(3);
  message.add_sampled()->set_token_id(4);
  worker::v1::SlotLogits& sent = *message.add_logits();
  sent.set_slot(1);
  sent.set_position(5);
  sent.set_num_rows(2);
  sent.add_shards("sent, and too long to lie in the string itself");
  worker::v1::SlotLogits& left = *message.add_logits();
  left.set_slot(2);
  left.set_num_rows(1);
  left.mutable_shared()->set_block(7);
  return message;
}

TEST(StepResult, LogitsInTheMessageAreTakenAndThoseThatItNamesAreOpened) {
  const std::string memory = "left";
  const auto open = [&](const worker::v1::SharedColumns& columns) -> absl::StatusOr<LogitShard> {
    EXPECT_EQ(columns.block(), 7);
    return LogitShard{memory, nullptr};
  };
  worker::v1::StepResult message = Message();
  const char* const sent = message.logits(0).shards(0).data();
  const auto result = ReadStepResult(std::move(message), open);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->fields.step(), 3);
  EXPECT_EQ(result->fields.sampled(0).token_id(), 4);
  EXPECT_EQ(result->fields.logits_size(), 0);
  ASSERT_EQ(result->logits.size(), 2);
  EXPECT_EQ(result->logits[0].slot, 1);
  EXPECT_EQ(result->logits[0].position, 5);
  EXPECT_EQ(result->logits[0].num_rows, 2);
  ASSERT_EQ(result->logits[0].shards.size(), 1);
  EXPECT_EQ(result->logits[0].shards[0].bytes.data(), sent) << "copied";
  ASSERT_EQ(result->logits[1].shards.size(), 1);
  EXPECT_EQ(result->logits[1].shards[0].bytes.data(), memory.data());
}

TEST(StepResult, LogitsThatCannotBeOpenedAreAnError) {
  const auto open = [](const worker::v1::SharedColumns&) -> absl::StatusOr<LogitShard> {
    return absl::InternalError("there is no such block");
  };
  EXPECT_EQ(ReadStepResult(Message(), open).status().message(), "there is no such block");
}

}  // namespace
}  // namespace lockstep::server
