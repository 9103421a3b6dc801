#include "client/option_checks.h"

#include <algorithm>
#include <vector>

#include "client/request_options.h"
#include "gtest/gtest.h"

namespace lockstep::client {
namespace {

class OptionChecks : public ::testing::Test {
 protected:
  OptionChecks() {
    request_.AddTo(*app_.add_subcommand("generate"));
    app_.add_option("--timeout", timeout_)->check(CLI::Range(0.0, 100.0));
    app_.add_option("--sweep", sweep_)->delimiter(',')->check(CLI::Range(1, 8));
    CheckNumbers(app_);
  }

  // The error; empty if there is none.
  std::string Parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());
    try {
      app_.parse(arguments);
      return "";
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
  }

  CLI::App app_;
  RequestOptions request_;
  double timeout_ = 0;
  std::vector<uint32_t> sweep_;
};

TEST_F(OptionChecks, LetNumbersPass) {
  EXPECT_EQ(
      Parse({"--timeout", "2.5", "--sweep", "1,2,8", "generate", "--seed", "18446744073709551615",
             "--top-k", "0", "--priority", "-3", "--temperature", "7e-1", "--stop-token-id", "5"}),
      "");
  EXPECT_EQ(timeout_, 2.5);
  EXPECT_EQ(sweep_, (std::vector<uint32_t>{1, 2, 8}));
  const v1::GenerateRequest request = request_.MakeRequest();
  EXPECT_EQ(request.sampling().seed(), UINT64_MAX);
  EXPECT_EQ(request.priority(), -3);
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.7f);
}

TEST_F(OptionChecks, RefuseAnEmptyValueWhereANumberBelongs) {
  for (const char* option : {"--max-new-tokens", "--seed", "--priority", "--temperature", "--top-p",
                             "--stop-token-id", "--logprobs"}) {
    EXPECT_NE(Parse({"generate", option, ""}).find(option), std::string::npos) << option;
  }
}

TEST_F(OptionChecks, RefuseWholeNumbersThatWrapAndOctalOnes) {
  for (const char* text : {"-1", "18446744073709551616", "010", "0x10", "1e3", "three", " 1"}) {
    EXPECT_NE(Parse({"generate", "--seed", text}).find(text), std::string::npos) << text;
  }
}

TEST_F(OptionChecks, RefuseNumbersThatAreNotFinite) {
  for (const char* text : {"nan", "inf", "-inf", "1e999"}) {
    EXPECT_NE(Parse({"--timeout", text}), "") << text;
    EXPECT_NE(Parse({"generate", "--temperature", text}), "") << text;
  }
}

TEST(TokenIdList, IsNumbersAndCommasAndNothingElse) {
  for (const char* text : {"", ",", "1,,3", "1,", "1,x", "-1", "1;2", "4294967296"}) {
    EXPECT_NE(TokenIdList()(std::string(text)), "") << text;
  }
  const std::string good = "1, 306,4658";
  EXPECT_EQ(TokenIdList()(good), "");
  v1::TokenIds token_ids;
  ASSERT_TRUE(AddTokenIds(good, token_ids));
  ASSERT_EQ(token_ids.ids_size(), 3);
  EXPECT_EQ(token_ids.ids(2), 4658u);
}

}  // namespace
}  // namespace lockstep::client
