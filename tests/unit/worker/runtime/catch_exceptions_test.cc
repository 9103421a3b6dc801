#include "worker/runtime/catch_exceptions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace lockstep::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

template <typename Exception>
absl::Status Caught(const Exception& exception) {
  return CatchExceptions("Lower --max-num-seqs.", [&]() -> absl::Status { throw exception; });
}

TEST(CatchExceptionsTest, AResultPasses) {
  EXPECT_EQ(CatchExceptions("", [] { return absl::NotFoundError("it"); }),
            absl::NotFoundError("it"));
}

TEST(CatchExceptionsTest, AGpusExhaustedMemoryIsNamedWithWhatToLower) {
  const c10::SourceLocation here = {__func__, __FILE__, static_cast<uint32_t>(__LINE__)};
  const absl::Status status = Caught(c10::OutOfMemoryError(
      here,
      "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB. If "
      "reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF"));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("Tried to allocate 2.00 GiB"), HasSubstr("Lower --max-num-seqs."),
                    Not(HasSubstr("PYTORCH"))));
}

TEST(CatchExceptionsTest, TheHostsExhaustedMemoryToo) {
  const absl::Status status = Caught(std::bad_alloc());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Lower --max-num-seqs."));
}

TEST(CatchExceptionsTest, AnythingElseIsInternal) {
  EXPECT_EQ(Caught(std::runtime_error("a kernel")), absl::InternalError("a kernel"));
  const absl::Status status =
      CatchExceptions("", []() -> absl::Status { TORCH_CHECK(false, "shapes differ"); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shapes differ"));
}

}  // namespace
}  // namespace lockstep::worker
