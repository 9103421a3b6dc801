#include "process/control_group.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace lockstep {
namespace {

// Of /proc/self/mountinfo: the group `root` of a hierarchy is seen at `mount_point`.
struct GroupMount {
  std::string root;
  std::string mount_point;
};

struct OwnGroup {
  std::string path;  // in its hierarchy
  bool is_version_1 = false;
};

bool HasItem(absl::string_view list, absl::string_view item) {
  const std::vector<absl::string_view> items = absl::StrSplit(list, ',');
  return std::find(items.begin(), items.end(), item) != items.end();
}

// Lines are "4:memory:/a/b", or "0::/a/b" for version 2.
std::optional<OwnGroup> FindOwnGroup(absl::string_view controller,
                                     const std::filesystem::path& proc) {
  std::ifstream file(proc / "cgroup");
  std::optional<OwnGroup> version_2;
  std::string line;
  while (std::getline(file, line)) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    if (HasItem(fields[1], controller)) return OwnGroup{fields[2], true};
    if (fields[0] == "0" && fields[1].empty()) version_2 = OwnGroup{fields[2], false};
  }
  return version_2;
}

// Lines are "35 31 0:32 <root> <mount point> rw,relatime ... - cgroup cgroup rw,memory".
std::vector<GroupMount> FindMounts(absl::string_view controller, bool is_version_1,
                                   const std::filesystem::path& proc) {
  std::ifstream file(proc / "mountinfo");
  std::vector<GroupMount> mounts;
  std::string line;
  while (std::getline(file, line)) {
    const std::vector<std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<std::string> mount = absl::StrSplit(halves[0], ' ');
    const std::vector<std::string> type = absl::StrSplit(halves[1], ' ');
    if (mount.size() < 5 || type.size() < 3) continue;
    const bool fits =
        is_version_1 ? type[0] == "cgroup" && HasItem(type[2], controller) : type[0] == "cgroup2";
    if (fits) mounts.push_back({mount[3], mount[4]});
  }
  return mounts;
}

// `path` as it is called below `root`; none where it is not there.
std::optional<std::string> PathBelow(absl::string_view root, absl::string_view path) {
  root = absl::StripSuffix(root, "/");
  if (!absl::ConsumePrefix(&path, root)) return std::nullopt;
  if (!path.empty() && !absl::ConsumePrefix(&path, "/")) return std::nullopt;
  return std::string(path);
}

}  // namespace

std::vector<std::filesystem::path> ControlGroups(absl::string_view controller,
                                                 const std::filesystem::path& root) {
  const std::filesystem::path proc = root / "proc/self";
  const std::optional<OwnGroup> own = FindOwnGroup(controller, proc);
  if (!own.has_value()) return {};
  std::vector<GroupMount> mounts = FindMounts(controller, own->is_version_1, proc);
  if (mounts.empty()) return {};
  // The last mount at a place hides those before it.
  std::reverse(mounts.begin(), mounts.end());
  std::filesystem::path top;
  std::filesystem::path below;
  for (const GroupMount& mount : mounts) {
    const std::optional<std::string> path = PathBelow(mount.root, own->path);
    const auto mounted = root / std::filesystem::path(mount.mount_point).relative_path();
    std::error_code error;
    if (path.has_value() && std::filesystem::is_directory(mounted / *path, error)) {
      top = mounted;
      below = *path;
      break;
    }
    // In a container the own path is often the host's, which cannot be seen: what is mounted is
    // then the container's group.
    if (top.empty()) top = mounted;
  }
  std::vector<std::filesystem::path> groups;
  for (; !below.empty(); below = below.parent_path()) groups.push_back(top / below);
  groups.push_back(std::move(top));
  return groups;
}

}  // namespace lockstep
