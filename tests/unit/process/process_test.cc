#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "process/command_line.h"
#include "process/termination_signals.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

class CommandLine : public ::testing::Test {
 protected:
  CommandLine() : app_("does things", "lockstep-thing") {
    DeclareHelpAndVersion(app_);
    app_.add_option("--count", count_)->description("how many");
  }

  absl::StatusOr<std::string> Read(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "lockstep-thing");
    return ReadArguments(app_, static_cast<int>(arguments.size()), arguments.data());
  }

  CLI::App app_;
  int count_ = 0;
};

TEST_F(CommandLine, GivesTheOptionsTheirValuesAndHasNothingToPrint) {
  const auto text = Read({"--count", "3"});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "");
  EXPECT_EQ(count_, 3);
}

TEST_F(CommandLine, HelpAndVersionAreTextsToPrint) {
  const auto help = Read({"--help"});
  ASSERT_TRUE(help.ok()) << help.status();
  EXPECT_THAT(*help, HasSubstr("how many"));
  const auto version = Read({"--version"});
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_THAT(*version, ::testing::MatchesRegex("lockstep-thing [0-9.]+\n"));
}

TEST_F(CommandLine, WhatIsWrongIsNamed) {
  for (const char* argument : {"--cuont", "--count=many"}) {
    const auto text = Read({argument});
    ASSERT_FALSE(text.ok()) << argument;
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(text.status().ToString(), HasSubstr("--help")) << argument;
  }
}

TEST(TerminationSignals, ComeAsEventsAndDoNotEndTheProcess) {
  const int fd = TakeTerminationSignals();
  ASSERT_GE(fd, 0);
  for (int number : {SIGTERM, SIGINT}) {
    signalfd_siginfo info;
    EXPECT_EQ(read(fd, &info, sizeof(info)), -1) << "before the signal";
    ASSERT_EQ(raise(number), 0);
    ASSERT_EQ(read(fd, &info, sizeof(info)), static_cast<ssize_t>(sizeof(info)));
    EXPECT_EQ(static_cast<int>(info.ssi_signo), number);
  }
  close(fd);
}

}  // namespace
}  // namespace lockstep
