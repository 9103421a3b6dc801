#include "server/engine/mask_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(MaskBoardTest, AStepsMasksGoOutTogetherAndInOrder) {
  MaskBoard board;
  board.Add(1);
  board.Add(2);
  board.AddRow({.step = 4, .handle = 1, .slot = 10, .position = 7});
  board.AddRow({.step = 4, .handle = 2, .slot = 11, .position = 3});
  board.AddRow({.step = 5, .handle = 2, .slot = 11, .position = 4});
  EXPECT_EQ(board.waiting_step(), 4u);
  board.SetMask(2, 3, "b");
  EXPECT_THAT(board.TakeReady(), IsEmpty());
  EXPECT_THAT(board.Missing(), ElementsAre(1));
  board.SetMask(1, 7, "a");
  const auto ready = board.TakeReady();
  ASSERT_THAT(ready, SizeIs(1));
  EXPECT_EQ(ready[0].step(), 4u);
  ASSERT_EQ(ready[0].masks_size(), 2);
  EXPECT_EQ(ready[0].masks(0).slot(), 10u);
  EXPECT_EQ(ready[0].masks(0).allowed(), "a");
  EXPECT_EQ(ready[0].masks(1).allowed(), "b");
  EXPECT_EQ(board.waiting_step(), 5u);
  board.SetMask(2, 4, "c");
  EXPECT_THAT(board.TakeReady(), SizeIs(1));
  EXPECT_EQ(board.waiting_step(), std::nullopt);
  EXPECT_THAT(board.TakeReady(), IsEmpty());
}

TEST(MaskBoardTest, RowsThatNobodyWantsGetEmptyMasks) {
  MaskBoard board;
  board.Add(1);
  board.Add(2);
  board.AddRow({.step = 1, .handle = 1, .slot = 0, .position = 5});
  board.AddRow({.step = 1, .handle = 2, .slot = 1, .position = 5});
  board.Remove(1);
  board.DropRows(2);
  const auto ready = board.TakeReady();
  ASSERT_THAT(ready, SizeIs(1));
  ASSERT_EQ(ready[0].masks_size(), 2);
  EXPECT_EQ(ready[0].masks(0).allowed(), "");
  EXPECT_EQ(ready[0].masks(1).allowed(), "");
}

TEST(MaskBoardTest, ADroppedRequestsNextRowsWaitAgain) {
  MaskBoard board;
  board.Add(1);
  board.AddRow({.step = 1, .handle = 1, .slot = 0, .position = 5});
  board.DropRows(1);
  EXPECT_THAT(board.TakeReady(), SizeIs(1));
  board.SetMask(1, 5, "m");
  board.AddRow({.step = 2, .handle = 1, .slot = 3, .position = 5});
  const auto ready = board.TakeReady();
  ASSERT_THAT(ready, SizeIs(1));
  EXPECT_EQ(ready[0].masks(0).allowed(), "m");
  board.AddRow({.step = 3, .handle = 1, .slot = 3, .position = 6});
  EXPECT_THAT(board.TakeReady(), IsEmpty());
}

TEST(MaskBoardTest, AMaskOfARequestThatHasEndedIsIgnored) {
  MaskBoard board;
  board.SetMask(9, 1, "m");
  EXPECT_EQ(board.waiting_step(), std::nullopt);
}

}  // namespace
}  // namespace lockstep::server
