// Sampler::Draw for a block of threads.
#ifndef LOCKSTEP_WORKER_SAMPLING_CUDA_FILTERS_CUH_
#define LOCKSTEP_WORKER_SAMPLING_CUDA_FILTERS_CUH_

#include "worker/sampling/cuda/processors.cuh"
#include "worker/sampling/cuda/selection.cuh"

namespace lockstep::worker::cuda {

// The tokens that may still be drawn, and what each weighs: 0 where a filter removed it.
class RowFilters {
 public:
  __device__ RowFilters(const Block& block, const SampledRow& row, const RowScratch& scratch,
                        const float* logits, float maximum, int vocab_size)
      : block_(block),
        row_(row),
        scratch_(scratch),
        logits_(logits),
        maximum_(maximum),
        size_(vocab_size) {}

  // The token that the row's random number says.
  __device__ int Draw() {
    const bool has_cuts = row_.top_p_removes >= 0.0 || row_.min_p > 0.0F;
    const bool has_typical = row_.typical_p > 0.0F;
    if (row_.top_k == 0 && !has_cuts && !has_typical) return DrawUnfiltered();
    const float* source = logits_;
    if (row_.top_k > 0) {
      KeepTopK();
      source = scratch_.weights;
    }
    double sum = SumWeights(block_, size_, [&](int i) {
      const float weight = ExpWeight(source[i], maximum_, row_.temperature);
      scratch_.weights[i] = weight;
      return weight;
    });
    if (has_cuts) sum = CutTail(sum);
    if (has_typical) sum = KeepTypical(sum);
    const int index = FindCumulative(
        block_, size_, [&](int i) { return scratch_.weights[i]; }, row_.uniform * sum);
    return row_.top_k > 0 ? static_cast<int>(scratch_.integers[index]) : index;
  }

 private:
  __device__ int DrawUnfiltered() const {
    const auto weight = [&](int i) { return ExpWeight(logits_[i], maximum_, row_.temperature); };
    const double sum = SumWeights(block_, size_, weight);
    return FindCumulative(block_, size_, weight, row_.uniform * sum);
  }

  // Moves the logits that stay together, into scratch.weights, their ids into scratch.integers.
  __device__ void KeepTopK() {
    const float threshold =
        FindKthLargest(block_, logits_, size_, static_cast<int>(row_.top_k)).value;
    size_ = block_.Compact(
        size_, [&](int i) { return logits_[i] >= threshold; },
        [&](int place, int i) {
          scratch_.integers[place] = static_cast<unsigned>(i);
          scratch_.weights[place] = logits_[i];
        });
    __syncthreads();
    if (row_.typical_p == 0.0F) return;  // nobody asks for the logits again
    block_.ForEach(size_, [&](int i) { scratch_.logits[i] = scratch_.weights[i]; });
    logits_ = scratch_.logits;
    __syncthreads();
  }

  // Top-p, then min-p. Returns what is left of the sum.
  __device__ double CutTail(double sum) const {
    LightTokens light = {0.0F, 0};
    int ties_end = 0;  // the first of the tokens with light.weight that stays
    if (row_.top_p_removes >= 0.0) {
      light = FindRemovable(block_, scratch_.weights, size_, row_.top_p_removes * sum);
    }
    if (light.num_ties > 0) {
      ties_end = block_.FindMatch(
          size_, [&](int i) { return scratch_.weights[i] == light.weight; }, light.num_ties);
    }
    return SumWeights(block_, size_, [&](int i) {
      float& weight = scratch_.weights[i];
      const bool is_light = weight < light.weight || (weight == light.weight && i < ties_end);
      if (is_light || weight < row_.min_p) weight = 0.0F;
      return weight;
    });
  }

  // Returns what is left of the sum. Overwrites scratch.logits with deviations.
  __device__ double KeepTypical(double sum) const {
    const auto surprisal = [&](int i) {
      return __fdiv_rn(-__fsub_rn(logits_[i], maximum_), row_.temperature);
    };
    double part_of_mean = 0.0;
    block_.ForEach(size_, [&](int i) {
      const float weight = scratch_.weights[i];
      if (weight > 0.0F) part_of_mean += weight / sum * surprisal(i);
    });
    const double mean = block_.Sum(part_of_mean);
    block_.ForEach(size_, [&](int i) {
      const bool is_kept = scratch_.weights[i] > 0.0F;
      scratch_.logits[i] = is_kept ? static_cast<float>(fabs(surprisal(i) - mean)) : 0.0F;
    });
    __syncthreads();
    const float threshold = FindThreshold(block_, scratch_.logits, scratch_.weights, size_,
                                          static_cast<double>(row_.typical_p) * sum);
    return SumWeights(block_, size_, [&](int i) {
      float& weight = scratch_.weights[i];
      if (scratch_.logits[i] > threshold) weight = 0.0F;
      return weight;
    });
  }

  const Block& block_;
  const SampledRow& row_;
  const RowScratch& scratch_;
  const float* logits_;  // [size_]
  const float maximum_;  // of the logits
  int size_;
};

}  // namespace lockstep::worker::cuda

#endif  // LOCKSTEP_WORKER_SAMPLING_CUDA_FILTERS_CUH_
