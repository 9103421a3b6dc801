#include "worker/link/worker_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

namespace lockstep::worker {
namespace {

using ::testing::HasSubstr;
using Environment = std::map<std::string, std::string>;

absl::StatusOr<WorkerCommandLine> Parse(std::vector<const char*> arguments,
                                        const Environment& environment = {}) {
  arguments.insert(arguments.begin(), "lockstep-worker");
  return ParseWorkerOptions(static_cast<int>(arguments.size()), arguments.data(), environment);
}

TEST(ParseWorkerOptions, TakesFlags) {
  const auto result = Parse(
      {"--rank", "1", "--world-size=2", "--frontend", "unix:/run/x.sock", "--dial-timeout", "5s"});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->options.rank, 1);
  EXPECT_EQ(result->options.world_size, 2);
  EXPECT_EQ(result->options.local_world_size, 2);
  EXPECT_EQ(result->options.local_rank, 1);
  EXPECT_EQ(result->options.frontend, "unix:/run/x.sock");
  EXPECT_EQ(result->options.dial_timeout, absl::Seconds(5));
  EXPECT_EQ(result->options.death_fd, -1);
}

TEST(ParseWorkerOptions, TakesWhatTorchrunSets) {
  const auto result = Parse({"--frontend", "head:50052"}, {{"RANK", "3"},
                                                           {"WORLD_SIZE", "4"},
                                                           {"LOCAL_RANK", "0"},
                                                           {"LOCAL_WORLD_SIZE", "2"},
                                                           {"LOCKSTEP_POOL_TOKEN", "secret"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->options.rank, 3);
  EXPECT_EQ(result->options.world_size, 4);
  EXPECT_EQ(result->options.local_world_size, 2);
  EXPECT_EQ(result->options.local_rank, 0);
  EXPECT_EQ(result->options.pool_token, "secret");
}

TEST(ParseWorkerOptions, RanksOfAMachineAreNumberedInTheirOrder) {
  const auto result = Parse({"--frontend", "head:1", "--rank", "5", "--world-size", "8"},
                            {{"LOCAL_WORLD_SIZE", "4"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->options.local_rank, 1);
}

std::string WriteFile(const std::string& text) {
  const std::string path = ::testing::TempDir() + "/worker_" + std::to_string(getpid()) + ".conf";
  std::ofstream(path) << text;
  return path;
}

TEST(ParseWorkerOptions, TakesAFileBehindFlagsAndTheEnvironment) {
  const std::string path = WriteFile(
      "# of this pod\nrank = 1\nworld_size = 4\nfrontend = \"unix:/run/x.sock\"\ndial-timeout = "
      "7s\n");
  const auto result = Parse({"--config", path.c_str(), "--dial-timeout", "5s"},
                            {{"LOCKSTEP_RANK", "2"}, {"RANK", "3"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->options.rank, 2);
  EXPECT_EQ(result->options.world_size, 4);
  EXPECT_EQ(result->options.frontend, "unix:/run/x.sock");
  EXPECT_EQ(result->options.dial_timeout, absl::Seconds(5));
}

TEST(ParseWorkerOptions, SaysWhatIsWrongWithAFile) {
  const auto error = [](const std::string& text) {
    const std::string path = WriteFile(text);
    return std::string(Parse({"--config", path.c_str()}).status().message());
  };
  EXPECT_THAT(error("frontend = head:1\nmodel = /m\n"),
              HasSubstr("unknown option 'model' in line 2; there are rank, world-size"));
  EXPECT_THAT(error("rank = 0\nrank = 1\n"), HasSubstr("line 2 gives 'rank' again"));
  EXPECT_THAT(error("frontend = head:1\nrank = x\n"), HasSubstr("rank in "));
  EXPECT_THAT(error("[worker]\n"), HasSubstr("line 1"));
  EXPECT_THAT(std::string(Parse({"--config", "/nowhere"}).status().message()),
              HasSubstr("--config /nowhere: no such file"));
}

TEST(ParseWorkerOptions, PrefersFlagsToTheEnvironment) {
  const auto result = Parse({"--frontend", "head:1", "--rank", "0"},
                            {{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCKSTEP_FRONTEND", "other:1"}});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->options.rank, 0);
  EXPECT_EQ(result->options.frontend, "head:1");
}

TEST(ParseWorkerOptions, NamesWhatIsWrongAndWhereItCameFrom) {
  const auto error = [](std::vector<const char*> arguments, const Environment& environment = {}) {
    const auto result = Parse(std::move(arguments), environment);
    return std::string(result.status().message());
  };
  EXPECT_THAT(error({}), HasSubstr("--frontend is missing"));
  EXPECT_THAT(error({"--frontend", "nowhere"}), HasSubstr("--frontend is 'nowhere'"));
  EXPECT_THAT(error({"--frontend", "h:0"}), HasSubstr("host:port"));
  EXPECT_THAT(error({"--frontend", "h:1"}, {{"RANK", "x"}}), HasSubstr("RANK is 'x'"));
  EXPECT_THAT(error({"--frontend", "h:1", "--rank", "2", "--world-size", "2"}),
              HasSubstr("rank 2 is not below the world size of 2"));
  EXPECT_THAT(error({"--frontend", "h:1", "--world-size", "65"}), HasSubstr("from 1 to 64"));
  EXPECT_THAT(error({"--frobnicate"}), HasSubstr("--frobnicate"));
  EXPECT_THAT(error({"--frontend", "h:1", "--dial-timeout", "soon"}), HasSubstr("30s"));
}

TEST(ParseWorkerOptions, HelpNamesEveryOptionAndTheExitStatus) {
  const auto result = Parse({"--help"});
  ASSERT_TRUE(result.ok());
  for (const char* text : {"--rank", "--world-size", "--frontend", "--dial-timeout", "RANK",
                           "LOCKSTEP_POOL_TOKEN", "Exit status"}) {
    EXPECT_THAT(result->text_to_print, HasSubstr(text));
  }
}

}  // namespace
}  // namespace lockstep::worker
