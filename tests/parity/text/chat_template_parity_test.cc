// Chat templates against transformers' apply_chat_template, byte for byte (reference/*.chat.json,
// by dump_reference.py).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/text/text_model.h"
#include "tests/unit/server/text/checkpoint_directory.h"

namespace lockstep::server {
namespace {

// Templates see dictionaries in their own order.
using Json = nlohmann::ordered_json;

class ChatTemplateParity : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    reference_ = Json::parse(ReadWholeFile(kTextReference / (GetParam() + ".chat.json")));
    CheckpointDirectory checkpoint("llama2.json");
    checkpoint.Write("tokenizer_config.json", R"({"tokenizer_class": "PreTrainedTokenizerFast",
                                                  "bos_token": "<s>", "eos_token": "</s>"})");
    checkpoint.Write("chat_template.jinja", reference_["template"].get<std::string>());
    auto model = TextModel::Load(checkpoint.path());
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
  }

  absl::StatusOr<std::string> Render(const Json& entry) const {
    std::vector<ChatMessage> messages;
    for (const Json& message : entry["messages"]) {
      messages.push_back({message["role"], message["content"]});
    }
    const absl::Time now = absl::FromUnixSeconds(reference_["now"].get<int64_t>());
    return model_->ApplyChatTemplate(messages, entry["add_generation_prompt"],
                                     entry["variables"].dump(), now);
  }

  Json reference_;
  std::unique_ptr<TextModel> model_;
};

TEST_P(ChatTemplateParity, RendersOrRefusesAsTheReferenceDoes) {
  for (const Json& entry : reference_["cases"]) {
    const auto prompt = Render(entry);
    if (entry.contains("prompt")) {
      ASSERT_TRUE(prompt.ok()) << prompt.status() << entry["messages"];
      EXPECT_EQ(*prompt, entry["prompt"].get<std::string>()) << entry["messages"];
      continue;
    }
    EXPECT_EQ(prompt.status().code(), absl::StatusCode::kInvalidArgument) << entry["messages"];
    if (entry["raised"].get<bool>()) {
      EXPECT_EQ(prompt.status().message(), entry["error"].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Templates, ChatTemplateParity,
                         ::testing::Values("folded_system", "headers", "tools", "zephyr", "chatml",
                                           "mistral", "python", "tests", "loops", "whitespace",
                                           "generation", "json", "calls", "expressions",
                                           "formatting", "filters", "methods", "syntax",
                                           "carriage_returns", "refuses", "undefined",
                                           "undefined_attribute", "wrong_types"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lockstep::server
