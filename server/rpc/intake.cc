#include "server/rpc/intake.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/admission/field_error.h"

namespace lockstep::server {
namespace {

constexpr absl::Duration kIntakeRetryDelay = absl::Seconds(1);

}  // namespace

absl::StatusOr<ByteBudget::Lease> ReserveRequest(ByteBudget& budget, std::size_t num_bytes) {
  ByteBudget::Lease lease = budget.Take(num_bytes);
  if (lease != nullptr) return lease;
  return WithRetryDelay(
      absl::ResourceExhaustedError(absl::StrCat(
          "the request has ", num_bytes, " bytes, and those that the server is taking in have ",
          budget.num_used(), " of the ", budget.limit(), " it holds at a time; try again later")),
      kIntakeRetryDelay);
}

}  // namespace lockstep::server
