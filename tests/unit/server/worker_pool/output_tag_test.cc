#include "server/worker_pool/output_tag.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "server/worker_pool/worker_process.h"

namespace lockstep::server {
namespace {

class OutputTagTest : public ::testing::Test {
 protected:
  OutputTagTest() : pipe_(*MakePipe()) { fcntl(pipe_.read_end.get(), F_SETFL, O_NONBLOCK); }

  void Print(const std::string& text) {
    ASSERT_EQ(write(pipe_.write_end.get(), text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }
  // What arrives on standard error.
  std::string Relay() {
    ::testing::internal::CaptureStderr();
    is_open_ = tag_.Relay(pipe_.read_end.get());
    return ::testing::internal::GetCapturedStderr();
  }

  Pipe pipe_;
  OutputTag tag_{3};
  bool is_open_ = true;
};

TEST_F(OutputTagTest, MarksEveryLineWithItsRank) {
  Print("one\n\ntwo\n");
  EXPECT_EQ(Relay(), "[rank 3] one\n[rank 3] two\n");
  EXPECT_TRUE(is_open_);
  EXPECT_EQ(tag_.last_line(), "two");
}

TEST_F(OutputTagTest, HoldsALineBackUntilItEnds) {
  Print("half");
  EXPECT_EQ(Relay(), "");
  Print(" and half\n");
  EXPECT_EQ(Relay(), "[rank 3] half and half\n");
}

TEST_F(OutputTagTest, TheLastLineNeedsNoEnd) {
  Print("terminate called");
  pipe_.write_end.Close();
  EXPECT_EQ(Relay(), "[rank 3] terminate called\n");
  EXPECT_FALSE(is_open_);
}

TEST_F(OutputTagTest, CutsALineThatNeverEnds) {
  Print(std::string(10'000, 'x'));
  const std::string text = Relay();
  EXPECT_GT(text.size(), 8000);
  EXPECT_EQ(text.substr(0, 12), "[rank 3] xxx");
}

}  // namespace
}  // namespace lockstep::server
