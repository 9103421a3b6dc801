#include "client/request_options.h"

#include <filesystem>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep::client {
namespace {

v1::GenerateRequest Parse(const std::string& command_line) {
  CLI::App app;
  RequestOptions options;
  options.AddTo(app);
  app.parse(command_line);
  return options.MakeRequest();
}

TEST(RequestOptions, RejectsAFileThatCannotBeRead) {
  const lockstep::testing::TemporaryDirectory directory;
  for (const char* option : {"--json-schema", "--grammar"}) {
    for (const std::filesystem::path& path : {directory.path(), directory.path() / "absent"}) {
      try {
        Parse(absl::StrCat(option, " ", path.string()));
        ADD_FAILURE() << option << " takes " << path;
      } catch (const CLI::ParseError& error) {
        EXPECT_EQ(std::string(error.what()), absl::StrCat(option, ": cannot read ", path.string()));
      }
    }
  }
}

TEST(RequestOptions, LeavesAbsentWhatIsNotGiven) {
  const v1::GenerateRequest request = Parse("");
  EXPECT_EQ(request.sampling().ByteSizeLong(), 0u);
  EXPECT_EQ(request.stopping().ByteSizeLong(), 0u);
  EXPECT_EQ(request.output().ByteSizeLong(), 0u);
  EXPECT_FALSE(request.has_request_id());
}

TEST(RequestOptions, TellsZeroFromAbsent) {
  const v1::GenerateRequest request = Parse("--temperature 0 --top-k 0 --seed 0");
  EXPECT_TRUE(request.sampling().has_temperature());
  EXPECT_EQ(request.sampling().temperature(), 0);
  EXPECT_TRUE(request.sampling().has_top_k());
  EXPECT_TRUE(request.sampling().has_seed());
  EXPECT_FALSE(request.sampling().has_top_p());
}

TEST(RequestOptions, TakesSeveralStopStringsAndTokens) {
  const v1::GenerateRequest request =
      Parse("--stop one --stop 'two words' --stop-token-id 3 --stop-token-id 4");
  ASSERT_EQ(request.stopping().stop_strings_size(), 2);
  EXPECT_EQ(request.stopping().stop_strings(1), "two words");
  ASSERT_EQ(request.stopping().stop_token_ids_size(), 2);
  EXPECT_EQ(request.stopping().stop_token_ids(1), 4u);
}

TEST(RequestOptions, TakesBiasesAndAllowedTokens) {
  const v1::GenerateRequest request = Parse(
      "--logit-bias 3=-1.5 --logit-bias 128001=100 --allowed-token-id 3 --allowed-token-id 9");
  const auto& bias = request.sampling().logit_bias();
  ASSERT_EQ(bias.size(), 2u);
  EXPECT_EQ(bias.at(3), -1.5F);
  EXPECT_EQ(bias.at(128001), 100.0F);
  ASSERT_EQ(request.sampling().allowed_token_ids_size(), 2);
  EXPECT_EQ(request.sampling().allowed_token_ids(1), 9u);
}

TEST(RequestOptions, RejectsABiasThatIsNone) {
  for (const char* text : {"3", "=1", "3=", "x=1", "3=much", "-3=1", "3=1=2", "0x1f=1"}) {
    EXPECT_THROW(Parse(std::string("--logit-bias ") + text), CLI::ParseError) << text;
  }
}

TEST(RequestOptions, TakesTheCacheAndThePromptsLogProbabilities) {
  const v1::GenerateRequest request =
      Parse("--bypass-cache --cache-salt tenant --prompt-logprobs 0");
  EXPECT_TRUE(request.cache().bypass());
  EXPECT_EQ(request.cache().salt(), "tenant");
  EXPECT_TRUE(request.output().has_prompt_logprobs());
  EXPECT_EQ(request.output().prompt_logprobs(), 0u);
}

TEST(RequestOptions, RejectsANegativeCount) {
  EXPECT_THROW(Parse("--max-new-tokens -1"), CLI::ParseError);
}

TEST(RequestOptions, RejectsAnUnknownOption) {
  EXPECT_THROW(Parse("--temprature 1"), CLI::ParseError);
}

}  // namespace
}  // namespace lockstep::client
