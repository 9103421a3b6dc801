#include "client/request_options.h"

#include <filesystem>
#include <set>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
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

// An option as it is given, and the request, in Protobuf's text format, that it alone makes. FILE
// is one with the text "a file".
struct OptionCase {
  std::string option, value, request;
};

const std::vector<OptionCase>& OptionCases() {
  static const std::vector<OptionCase> cases = {
      {"--request-id", "r-1", "request_id: 'r-1'"},
      {"--model", "m", "model: 'm'"},
      {"--priority", "-3", "priority: -3"},
      {"--num-sequences", "2", "num_sequences: 2"},
      {"--bypass-cache", "", "cache { bypass: true }"},
      {"--cache-salt", "s", "cache { salt: 's' }"},
      {"--temperature", "0.5", "sampling { temperature: 0.5 }"},
      {"--top-k", "7", "sampling { top_k: 7 }"},
      {"--top-p", "0.25", "sampling { top_p: 0.25 }"},
      {"--min-p", "0.125", "sampling { min_p: 0.125 }"},
      {"--typical-p", "0.75", "sampling { typical_p: 0.75 }"},
      {"--repetition-penalty", "1.5", "sampling { repetition_penalty: 1.5 }"},
      {"--presence-penalty", "-0.5", "sampling { presence_penalty: -0.5 }"},
      {"--frequency-penalty", "1.25", "sampling { frequency_penalty: 1.25 }"},
      {"--seed", "18446744073709551615", "sampling { seed: 18446744073709551615 }"},
      {"--logit-bias", "012=1e1", "sampling { logit_bias { key: 12 value: 10 } }"},
      {"--allowed-token-id", "9", "sampling { allowed_token_ids: 9 }"},
      {"--max-new-tokens", "11", "stopping { max_new_tokens: 11 }"},
      {"-n", "12", "stopping { max_new_tokens: 12 }"},
      {"--min-new-tokens", "4", "stopping { min_new_tokens: 4 }"},
      {"--stop", "end", "stopping { stop_strings: 'end' }"},
      {"--stop-token-id", "8", "stopping { stop_token_ids: 8 }"},
      {"--time-limit-ms", "1500", "stopping { time_limit_ms: 1500 }"},
      {"--include-stop-string", "", "stopping { include_stop_string: true }"},
      {"--ignore-eos", "", "stopping { ignore_eos: true }"},
      {"--json-schema", "FILE", "guide { json_schema: 'a file' }"},
      {"--json-object", "", "guide { json_object: true }"},
      {"--regex", "a+", "guide { regex: 'a+' }"},
      {"--grammar", "FILE", "guide { grammar: 'a file' }"},
      {"--choice", "yes", "guide { choice { choices: 'yes' } }"},
      {"--logprobs", "3", "output { logprobs: 3 }"},
      {"--prompt-logprobs", "2", "output { prompt_logprobs: 2 }"},
      {"--token-details", "", "output { token_details: true }"},
      {"--keep-special-tokens", "", "output { skip_special_tokens: false }"},
      {"--echo", "", "output { echo: true }"},
  };
  return cases;
}

TEST(RequestOptions, EachSetsItsOwnFieldAlone) {
  const lockstep::testing::TemporaryDirectory directory;
  directory.Write("file", "a file");
  const std::filesystem::path file = directory.path() / "file";
  for (const auto& [option, value, text] : OptionCases()) {
    v1::GenerateRequest expected;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &expected)) << text;
    expected.mutable_sampling();
    expected.mutable_stopping();
    expected.mutable_output();
    const v1::GenerateRequest request =
        Parse(absl::StrCat(option, " ", value == "FILE" ? file.string() : value));
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(request, expected))
        << option << " gives " << request.ShortDebugString();
  }
}

TEST(RequestOptions, EachIsAmongTheCases) {
  std::set<std::string> tested = {"--help"};
  for (const OptionCase& option_case : OptionCases()) tested.insert(option_case.option);
  CLI::App app;
  RequestOptions options;
  options.AddTo(app);
  std::vector<const CLI::App*> groups = {&app};
  for (const CLI::App* group : app.get_subcommands(nullptr)) groups.push_back(group);
  size_t num_options = 0;
  for (const CLI::App* group : groups) {
    for (const CLI::Option* option : group->get_options()) {
      EXPECT_TRUE(tested.contains("--" + option->get_lnames().at(0))) << option->get_name();
      ++num_options;
    }
  }
  EXPECT_GT(num_options, 30u) << "the groups' options are counted";
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
