#include "client/answer_stream.h"
#include "gtest/gtest.h"

namespace lockstep::client {
namespace {

AnswerFigures FiguresOf(std::initializer_list<uint32_t> num_tokens) {
  AnswerFigures figures;
  figures.seconds = 2;
  for (const uint32_t count : num_tokens) {
    v1::Finished finished;
    finished.set_reason(count == 1 ? v1::EOS : v1::LENGTH);
    finished.mutable_usage()->set_completion_tokens(count);
    figures.Add(finished);
  }
  return figures;
}

TEST(AnswerFigures, AStreamsRateCountsFromItsFirstToken) {
  AnswerFigures figures = FiguresOf({61});
  figures.seconds_to_first_token = 0.5;
  EXPECT_EQ(DescribeAnswer(figures),
            "61 tokens · 40.0 tok/s · first after 500 ms · ended by LENGTH");
}

TEST(AnswerFigures, OfWholeAnswersTheRateIsThatOfAllTogether) {
  EXPECT_EQ(DescribeAnswer(FiguresOf({61, 1})),
            "62 tokens · 31.0 tok/s · 2.00 s · ended by LENGTH, EOS");
}

TEST(AnswerFigures, AnAnswerWithoutTokensHasNoRate) {
  EXPECT_EQ(DescribeAnswer(FiguresOf({0})), "0 tokens · 0.0 tok/s · 2.00 s · ended by LENGTH");
}

}  // namespace
}  // namespace lockstep::client
