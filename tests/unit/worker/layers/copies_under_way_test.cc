#include "worker/layers/copies_under_way.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace lockstep::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct FakeEvent {
  void synchronize() const { waits->push_back(number); }

  int number;
  std::vector<int>* waits;
};

TEST(CopiesUnderWayTest, TheOldestIsWaitedForOnceThereAreMoreThanFour) {
  std::vector<int> waits;
  CopiesUnderWay<FakeEvent> copies;
  for (int number = 0; number < 4; ++number) copies.Add({number, &waits});
  EXPECT_THAT(waits, IsEmpty());
  for (int number = 4; number < 7; ++number) copies.Add({number, &waits});
  EXPECT_THAT(waits, ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace lockstep::worker
