#include "client/terminal_line.h"

#include "gtest/gtest.h"

namespace lockstep::client {
namespace {

TEST(FirstCharacters, CountsCharactersAndNotBytes) {
  EXPECT_EQ(FirstCharacters("größer", 4), "größ");
  EXPECT_EQ(FirstCharacters("größer", 6), "größer");
  EXPECT_EQ(FirstCharacters("größer", 99), "größer");
  EXPECT_EQ(FirstCharacters("größer", 0), "");
  EXPECT_EQ(FirstCharacters("", 3), "");
}

TEST(TerminalLine, ShowsNothingWhereThereIsNoTerminal) {
  ::testing::internal::CaptureStderr();
  {
    TerminalLine line;
    line.Show("loading");
    EXPECT_FALSE(line.is_terminal());
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace lockstep::client
