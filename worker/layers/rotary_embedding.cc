#include "worker/layers/rotary_embedding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

#include "worker/kernels/rope.h"

namespace lockstep::worker {
namespace {

at::Tensor Exponents(int64_t dim) {
  return at::arange(0, dim, 2, at::TensorOptions().dtype(at::kLong)).to(at::kFloat) /
         static_cast<double>(dim);
}

// base ** (0, 2, 4, ... / dim)
at::Tensor PositionFrequencies(double base, int64_t dim) {
  return at::pow(at::Scalar(base), Exponents(dim));
}

at::Tensor Llama3InvFreq(const at::Tensor& inv_freq, const RopeParameters& rope) {
  const auto context = static_cast<double>(rope.original_max_position_embeddings);
  const double low_freq_wavelength = context / rope.low_freq_factor;
  const double high_freq_wavelength = context / rope.high_freq_factor;
  const at::Tensor wavelength = at::reciprocal(inv_freq) * (2.0 * M_PI);
  const at::Tensor is_low = wavelength > low_freq_wavelength;
  const at::Tensor scaled = at::where(is_low, inv_freq / rope.factor, inv_freq);
  const at::Tensor smooth = (at::reciprocal(wavelength) * context - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor smoothed = (1.0 - smooth) * scaled / rope.factor + smooth * scaled;
  const at::Tensor is_medium = (wavelength < high_freq_wavelength).logical_or(is_low).logical_not();
  return at::where(is_medium, smoothed, scaled);
}

// The feature index whose wave turns `num_rotations` times within the original context.
double CorrectionDim(double num_rotations, int64_t dim, const RopeParameters& rope) {
  return (static_cast<double>(dim) *
          std::log(static_cast<double>(rope.original_max_position_embeddings) /
                   (num_rotations * 2.0 * M_PI))) /
         (2.0 * std::log(rope.theta));
}

at::Tensor YarnInvFreq(const RopeParameters& rope, int64_t dim) {
  const at::Tensor frequencies = PositionFrequencies(rope.theta, dim);
  const at::Tensor extrapolated = at::reciprocal(frequencies);
  const at::Tensor interpolated = at::reciprocal(frequencies * rope.factor);
  double low = CorrectionDim(rope.beta_fast, dim, rope);
  double high = CorrectionDim(rope.beta_slow, dim, rope);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // as the reference avoids a division by zero
  const at::Tensor ramp = at::clamp(
      (at::arange(dim / 2, at::TensorOptions().dtype(at::kFloat)) - low) / (high - low), 0, 1);
  const at::Tensor extrapolation_factor = 1.0 - ramp;
  return interpolated * (1.0 - extrapolation_factor) + extrapolated * extrapolation_factor;
}

at::Tensor LongRopeInvFreq(const RopeParameters& rope, const std::vector<double>& factors,
                           int64_t dim) {
  const at::Tensor scale = at::tensor(factors, at::TensorOptions().dtype(at::kFloat));
  return at::reciprocal(scale * PositionFrequencies(rope.theta, dim));
}

double YarnScale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double LongRopeScale(const RopeParameters& rope) {
  const auto context = static_cast<double>(rope.original_max_position_embeddings);
  return rope.factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(rope.factor) / std::log(context));
}

double AttentionScaling(const RopeParameters& rope) {
  if (rope.type != RopeType::kYarn && rope.type != RopeType::kLongRope) return 1.0;
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.type == RopeType::kLongRope) return LongRopeScale(rope);
  if (rope.mscale != 0.0 && rope.mscale_all_dim != 0.0) {
    return YarnScale(rope.factor, rope.mscale) / YarnScale(rope.factor, rope.mscale_all_dim);
  }
  return YarnScale(rope.factor, 1.0);
}

// The reference computes the scaled base with a length that is a tensor, hence in float32.
at::Tensor DynamicInvFreq(const RopeParameters& rope, int64_t dim, int64_t max_positions,
                          int64_t length) {
  const auto size = static_cast<double>(dim);
  const at::Tensor ratio =
      at::scalar_tensor(length, at::kLong) * rope.factor / static_cast<double>(max_positions);
  const at::Tensor base = at::pow(ratio - (rope.factor - 1.0), size / (size - 2.0)) * rope.theta;
  return at::reciprocal(at::pow(base, Exponents(dim)));
}

at::Tensor BaseInvFreq(const RopeParameters& rope, int64_t dim) {
  if (rope.type == RopeType::kYarn) return YarnInvFreq(rope, dim);
  if (rope.type == RopeType::kLongRope) return LongRopeInvFreq(rope, rope.short_factor, dim);
  const at::Tensor inv_freq = at::reciprocal(PositionFrequencies(rope.theta, dim));
  if (rope.type == RopeType::kLinear) return inv_freq / rope.factor;
  if (rope.type == RopeType::kLlama3) return Llama3InvFreq(inv_freq, rope);
  return inv_freq;
}

}  // namespace

RotaryEmbedding::RotaryEmbedding(const LlamaConfig& config, at::Device device)
    : rope_(config.rope),
      head_dim_(config.head_dim),
      max_position_embeddings_(config.max_position_embeddings),
      base_length_(LongestWithBaseRope(config)),
      device_(device),
      inv_freq_(BaseInvFreq(config.rope, config.head_dim).to(device)),
      attention_scaling_(AttentionScaling(config.rope)) {
  if (rope_.type == RopeType::kLongRope) {
    long_inv_freq_ = LongRopeInvFreq(rope_, rope_.long_factor, head_dim_).to(device);
  }
}

at::Tensor RotaryEmbedding::InvFreq(int64_t sequence_length) const {
  if (!base_length_ || sequence_length <= *base_length_) return inv_freq_;
  if (rope_.type == RopeType::kLongRope) return long_inv_freq_;
  // With a rotary dimension of 2 there is one frequency, 1, and nothing to scale.
  if (head_dim_ == 2) return inv_freq_;
  return DynamicInvFreq(rope_, head_dim_, max_position_embeddings_, sequence_length).to(device_);
}

void RotaryEmbedding::ComputeCosSin(KernelContext& context, const at::Tensor& positions,
                                    const std::vector<RopeSpan>& spans, at::Tensor& cos_sin) const {
  if (!is_dynamic()) {
    ComputeRopeCosSin(context, positions, inv_freq_, attention_scaling_, cos_sin);
    return;
  }
  int64_t begin = 0;
  for (const RopeSpan& span : spans) {
    at::Tensor rows = cos_sin.narrow(0, begin, span.num_rows);
    ComputeRopeCosSin(context, positions.narrow(0, begin, span.num_rows),
                      InvFreq(span.sequence_length), attention_scaling_, rows);
    begin += span.num_rows;
  }
}

}  // namespace lockstep::worker
