#include "process/control_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/testing/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kMemoryMount =
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
constexpr std::string_view kUnifiedMount =
    "30 23 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n";

// A root directory with the process's own lists and the groups that it can see.
class ControlGroupsTest : public ::testing::Test {
 protected:
  void SetLists(std::string_view groups, std::string_view mounts) const {
    root_.Write("proc/self/cgroup", groups);
    root_.Write("proc/self/mountinfo", mounts);
  }
  void AddGroup(const std::string& name) const {
    root_.Write("sys/fs/cgroup/" + name + "/cgroup.procs", "");
  }
  // Names below /sys/fs/cgroup.
  std::vector<std::string> Find(absl::string_view controller) const {
    std::vector<std::string> names;
    for (const auto& group : ControlGroups(controller, root_.path())) {
      names.push_back(group.lexically_relative(root_.path() / "sys/fs/cgroup").string());
    }
    return names;
  }

  const testing::TemporaryDirectory root_;
};

TEST_F(ControlGroupsTest, AServicesGroupAndThoseAroundItAreFound) {
  SetLists("0::/system.slice/lockstep.service\n", kUnifiedMount);
  AddGroup("system.slice/lockstep.service");
  EXPECT_THAT(Find("memory"), ElementsAre("system.slice/lockstep.service", "system.slice", "."));
}

TEST_F(ControlGroupsTest, AControllerOfVersion1HasItsOwnHierarchy) {
  SetLists("4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/c\n0::/\n",
           std::string(kUnifiedMount) + std::string(kMemoryMount) +
               "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
  AddGroup("memory/a/b");
  AddGroup("cpu,cpuacct/c");
  EXPECT_THAT(Find("memory"), ElementsAre("memory/a/b", "memory/a", "memory"));
  EXPECT_THAT(Find("cpu"), ElementsAre("cpu,cpuacct/c", "cpu,cpuacct"));
}

TEST_F(ControlGroupsTest, InAContainerTheMountIsTheOwnGroup) {
  AddGroup("memory");
  SetLists("4:memory:/docker/0123\n",
           "35 31 0:32 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  EXPECT_THAT(Find("memory"), ElementsAre("memory"));
  SetLists("4:memory:/docker/0123\n", kMemoryMount);
  EXPECT_THAT(Find("memory"), ElementsAre("memory")) << "the host's path is not there";
  SetLists("4:memory:/\n",
           "35 31 0:32 /../.. /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  EXPECT_THAT(Find("memory"), ElementsAre("memory")) << "a mount from outside of the namespace";
}

TEST_F(ControlGroupsTest, TheLastMountAtAPlaceIsTheOneThatIsSeen) {
  SetLists("4:memory:/a/b\n",
           std::string(kMemoryMount) +
               "99 35 0:32 /a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  AddGroup("memory/b");
  EXPECT_THAT(Find("memory"), ElementsAre("memory/b", "memory"));
}

TEST_F(ControlGroupsTest, WithoutListsOrMountsThereIsNone) {
  EXPECT_THAT(Find("memory"), IsEmpty());
  SetLists("4:memory:/\n", "22 27 0:21 / /proc rw,relatime - proc proc rw\nnonsense\n");
  EXPECT_THAT(Find("memory"), IsEmpty());
}

}  // namespace
}  // namespace lockstep
