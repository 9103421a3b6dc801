#include "server/rpc/model_info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;

class ModelInfo : public ::testing::Test {
 protected:
  v1::GetModelInfoResponse Describe() { return DescribeModel(model_, config_, *text_, "float32"); }

  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
  ServedModel model_{"bytes", kByteVocabSize, 64, {}};
  worker::LlamaConfig config_;
};

TEST_F(ModelInfo, HasWhatARequestGetsThatSaysNothing) {
  model_.defaults = {0.5F, 40, 0.75F, 0.125F, 0.875F, 1.25F, {3, 257}, {}};
  const v1::GetModelInfoResponse info = Describe();
  const v1::SamplingParameters& defaults = info.default_sampling();
  EXPECT_EQ(defaults.temperature(), 0.5F);
  EXPECT_EQ(defaults.top_k(), 40U);
  EXPECT_EQ(defaults.top_p(), 0.75F);
  EXPECT_EQ(defaults.min_p(), 0.125F);
  EXPECT_EQ(defaults.typical_p(), 0.875F);
  EXPECT_EQ(defaults.repetition_penalty(), 1.25F);
  EXPECT_THAT(info.eos_token_ids(), ElementsAre(3U, 257U));
}

TEST_F(ModelInfo, NamesTheTokenizersSpecialTokens) {
  const v1::GetModelInfoResponse info = Describe();
  ASSERT_EQ(info.special_tokens_size(), 2);
  EXPECT_EQ(info.special_tokens(0).role(), "bos");
  EXPECT_EQ(info.special_tokens(0).id(), 256U);
  EXPECT_EQ(info.special_tokens(1).role(), "eos");
  EXPECT_EQ(info.special_tokens(1).id(), static_cast<uint32_t>(kByteEos));
  for (const v1::SpecialToken& token : info.special_tokens()) {
    EXPECT_THAT(*text_->Encode(token.text(), /*add_special_tokens=*/false),
                ElementsAre(static_cast<int32_t>(token.id())));
  }
}

TEST_F(ModelInfo, CountsATiedHeadOnce) {
  config_.vocab_size = 300;
  config_.hidden_size = 64;
  const v1::GetModelInfoResponse untied = Describe();
  EXPECT_FALSE(untied.tie_word_embeddings());
  config_.tie_word_embeddings = true;
  const v1::GetModelInfoResponse tied = Describe();
  EXPECT_TRUE(tied.tie_word_embeddings());
  EXPECT_EQ(untied.num_parameters() - tied.num_parameters(), 300U * 64);
}

}  // namespace
}  // namespace lockstep::server
