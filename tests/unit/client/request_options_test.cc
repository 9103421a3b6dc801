#include "client/request_options.h"

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "gtest/gtest.h"

namespace lockstep::client {
namespace {

v1::GenerateRequest Parse(const std::string& command_line) {
  CLI::App app;
  RequestOptions options;
  options.AddTo(app);
  app.parse(command_line);
  return options.MakeRequest();
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

TEST(RequestOptions, RejectsANegativeCount) {
  EXPECT_THROW(Parse("--max-new-tokens -1"), CLI::ParseError);
}

TEST(RequestOptions, RejectsAnUnknownOption) {
  EXPECT_THROW(Parse("--temprature 1"), CLI::ParseError);
}

}  // namespace
}  // namespace lockstep::client
