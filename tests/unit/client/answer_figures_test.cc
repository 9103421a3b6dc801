#include "client/answer_stream.h"
#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"

namespace lockstep::client {
namespace {

// What the server says of a sequence: its first token came `queue` + 500 milliseconds after the
// request, its last one `decode` after that.
v1::Finished FinishedOf(uint32_t num_tokens, int64_t queue_ms, int64_t decode_ms) {
  using google::protobuf::util::TimeUtil;
  v1::Finished finished;
  finished.set_reason(num_tokens == 1 ? v1::EOS : v1::LENGTH);
  finished.mutable_usage()->set_completion_tokens(num_tokens);
  v1::Timing& timing = *finished.mutable_timing();
  *timing.mutable_queue() = TimeUtil::MillisecondsToDuration(queue_ms);
  if (num_tokens == 0) return finished;
  *timing.mutable_prefill() = TimeUtil::MillisecondsToDuration(500);
  *timing.mutable_decode() = TimeUtil::MillisecondsToDuration(decode_ms);
  return finished;
}

AnswerFigures FiguresOf(std::initializer_list<v1::Finished> sequences) {
  AnswerFigures figures;
  figures.seconds = 2;
  for (const v1::Finished& finished : sequences) figures.Add(finished);
  return figures;
}

TEST(AnswerFigures, TheRateIsTheServersHoweverTheTokensCome) {
  AnswerFigures figures = FiguresOf({FinishedOf(61, 0, 1500)});
  // In one burst, at the end.
  figures.seconds_to_first_token = figures.seconds;
  EXPECT_EQ(DescribeAnswer(figures),
            "61 tokens · 40.0 tok/s · first after 2000 ms · ended by LENGTH");
}

TEST(AnswerFigures, OfWholeAnswersTheRateIsThatOfAllTogether) {
  // One begins when the other has ended.
  EXPECT_EQ(DescribeAnswer(FiguresOf({FinishedOf(31, 0, 500), FinishedOf(31, 1000, 500)})),
            "62 tokens · 40.7 tok/s · 2.00 s · ended by LENGTH, LENGTH");
  // Side by side.
  EXPECT_EQ(DescribeAnswer(FiguresOf({FinishedOf(61, 0, 1500), FinishedOf(1, 0, 0)})),
            "62 tokens · 40.7 tok/s · 2.00 s · ended by LENGTH, EOS");
}

TEST(AnswerFigures, NoTokensAndASingleOneHaveNoRate) {
  EXPECT_EQ(DescribeAnswer(FiguresOf({FinishedOf(0, 0, 0)})),
            "0 tokens · 2.00 s · ended by LENGTH");
  EXPECT_EQ(DescribeAnswer(FiguresOf({FinishedOf(1, 0, 0)})), "1 tokens · 2.00 s · ended by EOS");
}

}  // namespace
}  // namespace lockstep::client
