#include "worker/comm/shm_space.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ShmSpaceTest, EnoughIsNotWorthAWord) { EXPECT_EQ(NcclShmShortage(kNcclShmBytes), ""); }

TEST(ShmSpaceTest, TooLittleIsSaidWithWhatIsThereWhatIsNeededAndTheFix) {
  EXPECT_THAT(NcclShmShortage(kNcclShmBytes - 1),
              AllOf(HasSubstr("33554431 bytes free"), HasSubstr("33554432"),
                    HasSubstr("--shm-size"), HasSubstr("emptyDir")));
}

TEST(ShmSpaceTest, AFileSystemThatIsMissingIsAShortageToo) {
  const auto free_bytes = FreeShmBytes("/nonexistent");
  EXPECT_FALSE(free_bytes.has_value());
  EXPECT_THAT(NcclShmShortage(free_bytes), HasSubstr("there is no /dev/shm"));
}

TEST(ShmSpaceTest, TheSpaceOfAFileSystemIsRead) { EXPECT_GT(FreeShmBytes("/dev/shm").value(), 0U); }

}  // namespace
}  // namespace lockstep::worker
