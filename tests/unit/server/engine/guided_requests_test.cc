#include "server/engine/guided_requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>

#include "server/sync/mutex.h"
#include "tests/unit/server/admission/byte_text_model.h"

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kPatience = absl::Milliseconds(10);

class GuidedRequestsTest : public ::testing::Test {
 protected:
  std::shared_ptr<const Guide> Compile(const std::string& regex) {
    auto guide = compiler_->Compile({GuideSpec::Kind::kRegex, regex});
    EXPECT_TRUE(guide.ok()) << guide.status();
    return *guide;
  }

  void Add(RequestHandle handle, const std::string& regex) {
    EngineRequest request;
    request.prompt = {1, 2, 3};
    request.guide = Compile(regex);
    guided_.Add(handle, request);
  }

  // The next of what the threads have said.
  GuideStep WaitForStep() {
    MutexLock lock(mutex_);
    while (steps_.empty()) changed_.WaitFor(mutex_, absl::Seconds(60));
    GuideStep step = std::move(steps_.front());
    steps_.pop_front();
    return step;
  }

  static Event Token(RequestHandle handle, uint32_t position, char token) {
    TokenEvent event;
    event.token.set_position(position);
    event.token.set_token_id(static_cast<uint32_t>(token));
    return {handle, event};
  }

  static bool Allows(const std::string& mask, char token) {
    const auto id = static_cast<size_t>(token);
    return (static_cast<uint8_t>(mask[id / 8]) >> (id % 8) & 1) != 0;
  }

  const std::unique_ptr<TextModel> text_ = MakeByteTextModel();
  const absl::StatusOr<GuideCompiler> compiler_ =
      GuideCompiler::Create(*text_, kByteVocabSize, std::vector<int32_t>{kByteEos});
  Mutex mutex_;
  CondVar changed_;
  std::deque<GuideStep> steps_ ABSL_GUARDED_BY(mutex_);
  absl::Time now_ = absl::UnixEpoch();
  GuidedRequests guided_{{.vocab_size = kByteVocabSize, .num_threads = 2, .patience = kPatience},
                         [this](GuideStep step) {
                           MutexLock lock(mutex_);
                           steps_.push_back(std::move(step));
                           changed_.NotifyAll();
                         }};
};

TEST_F(GuidedRequestsTest, AnAnswerGoesThroughItsGuide) {
  Add(7, "ab");
  GuideStep first = WaitForStep();
  ASSERT_TRUE(first.status.ok()) << first.status;
  EXPECT_EQ(first.handle, 7u);
  EXPECT_EQ(first.position, 3);
  EXPECT_TRUE(Allows(first.mask, 'a'));
  EXPECT_FALSE(Allows(first.mask, 'b'));
  guided_.Take({Token(7, 3, 'a')});
  GuideStep second = WaitForStep();
  EXPECT_EQ(second.position, 4);
  EXPECT_FALSE(Allows(second.mask, 'a'));
  EXPECT_TRUE(Allows(second.mask, 'b'));
  guided_.Take({Token(7, 4, 'b')});
  const GuideStep last = WaitForStep();
  EXPECT_TRUE(last.status.ok());
  EXPECT_TRUE(last.complete);
}

TEST_F(GuidedRequestsTest, ATokenThatTheGuideForbidsFailsTheRequest) {
  Add(7, "ab");
  WaitForStep();
  guided_.Take({Token(7, 3, 'x')});
  EXPECT_EQ(WaitForStep().status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GuidedRequestsTest, OnlyTheStepThatTheWorkersAreAtCanBeLate) {
  Add(7, "ab");
  GuideStep first = WaitForStep();
  guided_.AddRows({{.step = 3, .handle = 7, .slot = 0, .position = 3}});
  EXPECT_THAT(guided_.TakeLate(1, now_), IsEmpty());
  EXPECT_EQ(guided_.NextDeadline(), absl::InfiniteFuture());
  EXPECT_THAT(guided_.TakeLate(2, now_), IsEmpty());
  EXPECT_EQ(guided_.NextDeadline(), now_ + kPatience);
  now_ += kPatience;
  EXPECT_THAT(guided_.TakeLate(2, now_), ElementsAre(7));
  // Its row is given up, and the step goes on.
  const auto ready = guided_.TakeReady();
  ASSERT_THAT(ready, SizeIs(1));
  EXPECT_EQ(ready[0].masks(0).allowed(), "");
  EXPECT_THAT(guided_.TakeLate(2, now_), IsEmpty());
  EXPECT_EQ(guided_.NextDeadline(), absl::InfiniteFuture());
}

TEST_F(GuidedRequestsTest, AMaskThatIsThereIsNeverLate) {
  Add(7, "ab");
  guided_.Take(WaitForStep());
  guided_.AddRows({{.step = 3, .handle = 7, .slot = 5, .position = 3}});
  EXPECT_THAT(guided_.TakeLate(2, now_), IsEmpty());
  now_ += 2 * kPatience;
  EXPECT_THAT(guided_.TakeLate(2, now_), IsEmpty());
  const auto ready = guided_.TakeReady();
  ASSERT_THAT(ready, SizeIs(1));
  EXPECT_EQ(ready[0].masks(0).slot(), 5u);
  EXPECT_TRUE(Allows(ready[0].masks(0).allowed(), 'a'));
}

TEST_F(GuidedRequestsTest, RequestsWithoutAGuideAreNoneOfItsBusiness) {
  EngineRequest request;
  request.prompt = {1};
  guided_.Add(1, request);
  guided_.Take({Token(1, 1, 'a'), Event{1, Completion()}});
  guided_.Remove(1);
  EXPECT_THAT(guided_.TakeReady(), IsEmpty());
}

}  // namespace
}  // namespace lockstep::server
