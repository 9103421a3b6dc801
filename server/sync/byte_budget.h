// A limit to the memory that many users take together.
#ifndef LOCKSTEP_SERVER_SYNC_BYTE_BUDGET_H_
#define LOCKSTEP_SERVER_SYNC_BYTE_BUDGET_H_

#include <atomic>
#include <cstdint>
#include <memory>

namespace lockstep::server {

// Thread-safe; outlives its leases.
class ByteBudget {
  struct GiveBack {
    uint64_t num_bytes = 0;
    void operator()(ByteBudget* budget) const { budget->num_used_ -= num_bytes; }
  };

 public:
  // Bytes that are taken for as long as it lives; null: none.
  using Lease = std::unique_ptr<ByteBudget, GiveBack>;

  explicit ByteBudget(uint64_t num_bytes) : limit_(num_bytes) {}

  // Null, with nothing taken, where there would be more than the limit. Whoever comes alone gets
  // what he asks for.
  Lease Take(uint64_t num_bytes) {
    uint64_t used = num_used_;
    do {
      if (used > 0 && (used > limit_ || num_bytes > limit_ - used)) return nullptr;
    } while (!num_used_.compare_exchange_weak(used, used + num_bytes));
    return Lease(this, GiveBack{num_bytes});
  }

  uint64_t num_used() const { return num_used_; }
  uint64_t limit() const { return limit_; }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> num_used_{0};
};

}  // namespace lockstep::server

#endif  // LOCKSTEP_SERVER_SYNC_BYTE_BUDGET_H_
