#include "worker/checkpoint/safetensors_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/testing/temporary_directory.h"

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SafetensorsFileTest : public ::testing::Test {
 protected:
  // A file with this header and `data_size` bytes counting up.
  void Write(const std::string& header, size_t data_size) {
    std::ofstream file(path_, std::ios::binary);
    const uint64_t size = header.size();
    file.write(reinterpret_cast<const char*>(&size), sizeof(size));
    file << header;
    for (size_t i = 0; i < data_size; ++i) file.put(static_cast<char>(i));
  }
  void WriteRaw(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  std::string Error() {
    const auto file = SafetensorsFile::Open(path_);
    EXPECT_FALSE(file.ok());
    const std::string message(file.status().message());
    EXPECT_THAT(message, HasSubstr(path_.filename().string()));
    return message;
  }
  std::string ErrorOfHeader(const std::string& header, size_t data_size) {
    Write(header, data_size);
    return Error();
  }

  const testing::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "model.safetensors";
};

TEST_F(SafetensorsFileTest, GivesShapesTypesAndData) {
  Write(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[8,12]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("e":{"dtype":"I64","shape":[0,3],"data_offsets":[12,12]}}   )",
      12);
  const auto file = SafetensorsFile::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto& tensors = (*file)->tensors();
  ASSERT_EQ(tensors.size(), 3U);
  EXPECT_EQ(tensors.at("b").dtype, "BF16");
  EXPECT_EQ(tensors.at("b").shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(tensors.at("b").num_bytes, 4U);
  EXPECT_EQ(std::to_integer<int>(tensors.at("b").data[0]), 8);
  const StoredTensor& a = tensors.at("a");
  (*file)->Release(a.data, a.data + a.num_bytes);
  EXPECT_EQ(std::to_integer<int>(a.data[7]), 7) << "still readable after a release";
}

TEST_F(SafetensorsFileTest, ATruncatedFileNamesTheTensorThatIsCut) {
  EXPECT_THAT(ErrorOfHeader(R"({"first":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                            R"("second":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                            12),
              AllOf(HasSubstr("second"), HasSubstr("truncated"), HasSubstr("16"), HasSubstr("12")));
}

TEST_F(SafetensorsFileTest, AFileThatEndsInItsHeaderIsTruncated) {
  std::string bytes(8, '\0');
  const uint64_t size = 1000;
  std::memcpy(bytes.data(), &size, sizeof(size));
  WriteRaw(bytes + "{\"a\"");
  EXPECT_THAT(Error(), AllOf(HasSubstr("truncated"), HasSubstr("1000")));
  WriteRaw("abc");
  EXPECT_THAT(Error(), HasSubstr("3 bytes"));
  WriteRaw("");
  EXPECT_THAT(Error(), HasSubstr("0 bytes"));
}

TEST_F(SafetensorsFileTest, RefusesOverlapsHolesAndSurplusData) {
  const std::string first = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)";
  EXPECT_THAT(ErrorOfHeader(first + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
              AllOf(HasSubstr("tensor b"), HasSubstr("overlap")));
  EXPECT_THAT(
      ErrorOfHeader(first + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16),
      AllOf(HasSubstr("tensor b"), HasSubstr("hole")));
  EXPECT_THAT(
      ErrorOfHeader(first + R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", 20),
      HasSubstr("20 bytes of data"));
}

TEST_F(SafetensorsFileTest, RefusesSizesThatDoNotAgree) {
  EXPECT_THAT(ErrorOfHeader(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
              AllOf(HasSubstr("tensor a"), HasSubstr("12 bytes")));
  EXPECT_THAT(ErrorOfHeader(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
              HasSubstr("tensor a"));
  EXPECT_THAT(
      ErrorOfHeader(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
                    8),
      HasSubstr("absurd"));
  EXPECT_THAT(ErrorOfHeader(R"({"a":{"dtype":"Q4_K","shape":[2],"data_offsets":[0,8]}})", 8),
              HasSubstr("Q4_K"));
}

TEST_F(SafetensorsFileTest, RefusesHeadersOfAnotherForm) {
  for (
      const char* header :
      {"", "{", "[]", "17", R"({"a":1})", R"({"a":{"dtype":"F32","shape":[2]}})",
       R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
       R"({"a":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})",
       R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}})",
       R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})",
       R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"}) {
    Write(header, 8);
    EXPECT_FALSE(SafetensorsFile::Open(path_).ok()) << header;
  }
}

TEST_F(SafetensorsFileTest, RefusesAHeaderThatNestsAbsurdly) {
  const std::string lists = std::string(100'000, '[') + std::string(100'000, ']');
  Write("{\"a\":" + lists + "}", 8);
  EXPECT_THAT(std::string(SafetensorsFile::Open(path_).status().message()),
              AllOf(HasSubstr(path_.string()), HasSubstr("header nests")));
}

TEST_F(SafetensorsFileTest, AHeaderThatIsNoTextGivesAShortErrorInAscii) {
  for (const std::string& header : {std::string("\xff\xfe{}"), "{\"" + std::string(5000, 'a')}) {
    const std::string error = ErrorOfHeader(header, 8);
    EXPECT_LT(error.size(), 500U);
    EXPECT_TRUE(std::all_of(error.begin(), error.end(), [](char c) {
      return c >= ' ' && c <= '~';
    })) << error;
  }
}

TEST_F(SafetensorsFileTest, RecognizesAGitLfsPointerAndOtherFiles) {
  WriteRaw("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n");
  EXPECT_THAT(Error(), HasSubstr("git lfs pull"));
  WriteRaw(std::string(64, '\xff'));
  EXPECT_THAT(Error(), HasSubstr("not a safetensors file"));
  EXPECT_EQ(SafetensorsFile::Open("/nonexistent.safetensors").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_FALSE(SafetensorsFile::Open(directory_.path()).ok());
}

}  // namespace
}  // namespace lockstep::worker
