#ifndef LOCKSTEP_WORKER_SAMPLING_TOKEN_WEIGHTS_H_
#define LOCKSTEP_WORKER_SAMPLING_TOKEN_WEIGHTS_H_

#include <cstdint>
#include <span>

namespace lockstep::worker {

// Vector loops over a row of logits. Their results do not depend on the processor's vector width:
// sums are taken over a fixed number of lanes.

struct RowMaximum {
  float value = 0.0F;
  int64_t index = 0;  // the lowest that has the value
  // No element is NaN or +infinity, and one at least is not -infinity.
  bool is_valid = false;
};

RowMaximum FindMaximum(std::span<const float> row);

// weights[i] = exp((row[i] - maximum) / temperature), within 2 units in the last place; 0 where the
// exponent is below -87. `weights` may be `row`. `temperature` > 0.
void ExpWeights(std::span<const float> row, float maximum, float temperature,
                std::span<float> weights);

double SumWeights(std::span<const float> weights);

// The first index at which the cumulative sum of the weights exceeds `target`, or the last index
// with a weight when rounding lets none. `target` >= 0; one weight at least is positive.
int64_t FindCumulative(std::span<const float> weights, double target);

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_SAMPLING_TOKEN_WEIGHTS_H_
