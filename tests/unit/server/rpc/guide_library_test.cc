#include "server/rpc/guide_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;

constexpr int kNumThreads = 2;  // of a library

class GuideLibraryTest : public ::testing::Test {
 protected:
  // Occupies a thread of the library until `release`; returns when it does.
  void Occupy(std::shared_future<void> release) {
    std::promise<void> begun;
    library_->Get(
        {GuideSpec::Kind::kRegex, "x"},
        [&begun, release] {
          begun.set_value();
          release.wait();
          return false;
        },
        [](const auto&) {});
    begun.get_future().wait();
  }
  // The status of a guide that somebody waits for.
  absl::Status StatusOf(const std::string& regex) {
    std::promise<absl::Status> status;
    library_->Get(
        {GuideSpec::Kind::kRegex, regex}, [] { return true; },
        [&status](const auto& guide) { status.set_value(guide.status()); });
    return status.get_future().get();
  }

  // Asks for guides, each `between` after the one before; `order_` gets those whose turn comes, and
  // `all_` is set behind the last.
  void QueueUp(const std::vector<std::string>& regexes, absl::Duration between = {}) {
    for (const std::string& regex : regexes) {
      library_->Get(
          {GuideSpec::Kind::kRegex, regex},
          [this, regex] {
            order_.push_back(regex);
            return true;
          },
          [this, count = regexes.size()](const auto&) {
            if (order_.size() == count) all_.set_value();
          });
      now_ms_ += absl::ToInt64Milliseconds(between);
    }
  }

  std::vector<std::string> order_;
  std::promise<void> all_;  // of QueueUp
  std::atomic<int64_t> now_ms_ = 0;
  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
  std::unique_ptr<GuideLibrary> library_ =
      std::make_unique<GuideLibrary>(*text_, 256, std::vector<int32_t>{0},
                                     [this] { return absl::FromUnixMillis(now_ms_.load()); });
};

TEST_F(GuideLibraryTest, TheShortestOfThoseThatWaitIsNext) {
  std::promise<void> release_one, release_other;
  Occupy(release_one.get_future().share());
  Occupy(release_other.get_future().share());
  QueueUp({"[a-z]{7}", "abc", "a", "abcdef"});
  release_one.set_value();  // the other thread stays occupied: one after another
  all_.get_future().wait();
  EXPECT_THAT(order_, ElementsAre("a", "abc", "abcdef", "[a-z]{7}"));
  release_other.set_value();
}

TEST_F(GuideLibraryTest, WhatHasWaitedLongIsNotOvertakenAnyMore) {
  std::promise<void> release_one, release_other;
  Occupy(release_one.get_future().share());
  Occupy(release_other.get_future().share());
  QueueUp({"[a-z]{7}", "abcdef", "abc", "a"}, absl::Milliseconds(450));
  // The first two have waited for more than a second.
  release_one.set_value();
  all_.get_future().wait();
  EXPECT_THAT(order_, ElementsAre("[a-z]{7}", "abcdef", "a", "abc"));
  release_other.set_value();
}

// One that has waited long occupies one thread; on the other, the shortest is next.
TEST_F(GuideLibraryTest, ThoseThatHaveWaitedLongLeaveAThreadToTheShort) {
  std::promise<void> release_one, release_other, release_long;
  Occupy(release_one.get_future().share());
  Occupy(release_other.get_future().share());
  std::promise<void> long_begun;
  library_->Get(
      {GuideSpec::Kind::kRegex, "[a-z]{9}"},
      [&] {
        long_begun.set_value();
        release_long.get_future().wait();
        return false;
      },
      [](const auto&) {});
  now_ms_ += 1;
  QueueUp({"[a-z]{7}", "abc"});
  now_ms_ += 1000;
  release_one.set_value();
  long_begun.get_future().wait();
  release_other.set_value();
  all_.get_future().wait();
  EXPECT_THAT(order_, ElementsAre("abc", "[a-z]{7}"));
  release_long.set_value();
}

TEST_F(GuideLibraryTest, WhatNobodyWaitsForMakesRoom) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  for (int i = 0; i < kNumThreads; ++i) Occupy(released);
  std::atomic<bool> is_wanted = true;
  std::atomic<int> num_cancelled = 0;
  const auto add = [&] {
    library_->Get(
        {GuideSpec::Kind::kRegex, "a"}, [&] { return is_wanted.load(); },
        [&](const auto& guide) { num_cancelled += absl::IsCancelled(guide.status()) ? 1 : 0; });
  };
  for (int i = 0; i < 256; ++i) add();
  EXPECT_EQ(StatusOf("b").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(num_cancelled, 0);
  is_wanted = false;
  std::promise<absl::Status> status;
  library_->Get(
      {GuideSpec::Kind::kRegex, "b"}, [] { return true; },
      [&status](const auto& guide) { status.set_value(guide.status()); });
  EXPECT_EQ(num_cancelled, 256);
  release.set_value();
  const absl::Status waited = status.get_future().get();
  EXPECT_TRUE(waited.ok()) << waited;
}

TEST_F(GuideLibraryTest, WhatNobodyWaitsForIsNotCompiled) {
  std::promise<absl::Status> status;
  library_->Get(
      {GuideSpec::Kind::kRegex, "("}, [] { return false; },
      [&status](const auto& guide) { status.set_value(guide.status()); });
  EXPECT_EQ(status.get_future().get().code(), absl::StatusCode::kCancelled);
}

TEST_F(GuideLibraryTest, ARefusalIsKeptAndComesAtOnce) {
  const absl::Status first = StatusOf("(");
  EXPECT_EQ(first.code(), absl::StatusCode::kInvalidArgument);
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  for (int i = 0; i < kNumThreads; ++i) Occupy(released);
  EXPECT_EQ(StatusOf("("), first) << "no thread is free to compile it again";
  release.set_value();
}

}  // namespace
}  // namespace lockstep::server
