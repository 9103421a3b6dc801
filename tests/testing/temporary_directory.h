#ifndef LOCKSTEP_TESTS_TESTING_TEMPORARY_DIRECTORY_H_
#define LOCKSTEP_TESTS_TESTING_TEMPORARY_DIRECTORY_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace lockstep::testing {

// A directory of its own, also among tests that run at the same time; gone with this object.
class TemporaryDirectory {
 public:
  // kSockets: in /tmp where TMPDIR is too long for the address of a socket that is in here, or in a
  // directory in here with a name of up to 30 characters.
  enum class For { kFiles, kSockets };
  explicit TemporaryDirectory(For use = For::kFiles) {
    std::filesystem::path base = std::filesystem::temp_directory_path();
    constexpr size_t kLongestForSockets = 60;  // bytes, of the 107 that an address has
    if (use == For::kSockets && base.string().size() > kLongestForSockets) base = "/tmp";
    std::string pattern = (base / "lockstep_XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  // Makes the folders that the name has.
  void Write(std::string_view name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace lockstep::testing

#endif  // LOCKSTEP_TESTS_TESTING_TEMPORARY_DIRECTORY_H_
