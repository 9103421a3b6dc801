#ifndef LOCKSTEP_WORKER_COMM_SUM_IN_ORDER_H_
#define LOCKSTEP_WORKER_COMM_SUM_IN_ORDER_H_

#include <cstdint>
#include <span>

namespace lockstep::worker {

// out[i] = ((parts[0][i] + parts[1][i]) + parts[2][i]) + ... for i in [0, size). `out` may be one
// of the parts. 1 to 8 parts. The order of the additions is the same on every processor.
void SumInOrder(std::span<const float* const> parts, int64_t size, float* out);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_SUM_IN_ORDER_H_
