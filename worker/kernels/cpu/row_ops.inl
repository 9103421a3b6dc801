// The ops on single rows. Included inside the unnamed namespace of each kernels_*.cc, after
// vec.inl.

// Sums of a panel's row and their bias, if any.
inline Vec Biased(const float* accumulators, const float* bias, int64_t i, int width) {
  const Vec sums = Load(accumulators + i);
  return bias == nullptr ? sums : Add(sums, LoadUpTo(bias + i, width));
}

template <typename T>
void StorePanelAs(const float* accumulators, const float* bias, const StoreTarget& target) {
  T* out = static_cast<T*>(target.out);
  for (int64_t row = 0; row < target.num_rows; ++row) {
    ForEachVec(target.num_columns, [&](int64_t i, int width) {
      StoreUpTo(out + i, Biased(accumulators, bias, i, width), width);
    });
    accumulators += kPanelWidth;
    out += target.out_stride;
  }
}

void StorePanelPastCaches(const float* accumulators, const float* bias, const StoreTarget& target) {
  float* out = static_cast<float*>(target.out);
  for (int64_t row = 0; row < target.num_rows; ++row) {
    ForEachVec(kPanelWidth, [&](int64_t i, int width) {
      StorePastCaches(out + i, Biased(accumulators, bias, i, width));
    });
    accumulators += kPanelWidth;
    out += target.out_stride;
  }
}

void StorePanel(const float* accumulators, const float* bias, const StoreTarget& target) {
  if (target.past_caches) return StorePanelPastCaches(accumulators, bias, target);
  switch (target.type) {
    case ElementType::kFloat32:
      return StorePanelAs<float>(accumulators, bias, target);
    case ElementType::kFloat16:
      return StorePanelAs<Float16>(accumulators, bias, target);
    case ElementType::kBFloat16:
      return StorePanelAs<BFloat16>(accumulators, bias, target);
  }
}

// `a` rounded to T and back.
template <typename T>
inline Vec RoundTo(Vec a) {
  if constexpr (std::is_same_v<T, float>) {
    return a;
#if defined(__AVX512BF16__)
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return WidenBFloat16((__m256i)_mm512_cvtneps_pbh(a.v));
#endif
  } else {
    T buffer[Vec::kWidth];
    Store(buffer, a);
    return Load(buffer);
  }
}

// X is x's type, T that of weight and out.
template <typename X, typename T>
void RmsNormRowAs(const X* x, float* residual, const T* weight, float epsilon, int64_t hidden,
                  T* out) {
  Vec squares = Set(0.0f);
  ForEachVec(hidden, [&](int64_t i, int width) {
    Vec value = LoadUpTo(x + i, width);
    if (residual != nullptr) {
      value = Add(value, LoadUpTo(residual + i, width));
      StoreUpTo(residual + i, value, width);
    }
    squares = MulAdd(value, value, squares);
  });
  const Vec scale =
      Set(1.0f / __builtin_sqrtf(Sum(squares) / static_cast<float>(hidden) + epsilon));
  ForEachVec(hidden, [&](int64_t i, int width) {
    const Vec value = residual != nullptr ? LoadUpTo(residual + i, width) : LoadUpTo(x + i, width);
    const Vec normalized = RoundTo<T>(Mul(value, scale));
    StoreUpTo(out + i, Mul(normalized, LoadUpTo(weight + i, width)), width);
  });
}

template <typename T>
void RmsNormRowTo(const void* x, ElementType x_type, float* residual, const void* weight,
                  float epsilon, int64_t hidden, void* out) {
  if (x_type == ElementType::kFloat32) {
    RmsNormRowAs(static_cast<const float*>(x), residual, static_cast<const T*>(weight), epsilon,
                 hidden, static_cast<T*>(out));
  } else {
    RmsNormRowAs(static_cast<const T*>(x), residual, static_cast<const T*>(weight), epsilon, hidden,
                 static_cast<T*>(out));
  }
}

void RmsNormRow(const void* x, ElementType x_type, float* residual, const void* weight,
                float epsilon, int64_t hidden, ElementType type, void* out) {
  switch (type) {
    case ElementType::kFloat32:
      return RmsNormRowTo<float>(x, x_type, residual, weight, epsilon, hidden, out);
    case ElementType::kFloat16:
      return RmsNormRowTo<Float16>(x, x_type, residual, weight, epsilon, hidden, out);
    case ElementType::kBFloat16:
      return RmsNormRowTo<BFloat16>(x, x_type, residual, weight, epsilon, hidden, out);
  }
}

inline Vec SiluMultiplied(Vec gate, Vec factor) {
  const Vec silu = Div(gate, Add(Set(1.0f), Exp(Sub(Set(0.0f), gate))));
  return Mul(silu, factor);
}

template <typename T>
void SiluMultiplyRowAs(const T* gate, const T* up, int64_t num, T* out) {
  ForEachVec(num, [&](int64_t i, int width) {
    StoreUpTo(out + i, SiluMultiplied(LoadUpTo(gate + i, width), LoadUpTo(up + i, width)), width);
  });
}

void SiluMultiplyRow(const void* gate, const void* up, int64_t num, ElementType type, void* out) {
  switch (type) {
    case ElementType::kFloat32:
      return SiluMultiplyRowAs(static_cast<const float*>(gate), static_cast<const float*>(up), num,
                               static_cast<float*>(out));
    case ElementType::kFloat16:
      return SiluMultiplyRowAs(static_cast<const Float16*>(gate), static_cast<const Float16*>(up),
                               num, static_cast<Float16*>(out));
    case ElementType::kBFloat16:
      return SiluMultiplyRowAs(static_cast<const BFloat16*>(gate), static_cast<const BFloat16*>(up),
                               num, static_cast<BFloat16*>(out));
  }
}

template <typename T>
void StoreGatedPanelAs(const float* gates, const float* gate_bias, const float* factors,
                       const float* factor_bias, const StoreTarget& target) {
  T* out = static_cast<T*>(target.out);
  for (int64_t row = 0; row < target.num_rows; ++row) {
    ForEachVec(target.num_columns, [&](int64_t i, int width) {
      const Vec gate = RoundTo<T>(Biased(gates, gate_bias, i, width));
      const Vec factor = RoundTo<T>(Biased(factors, factor_bias, i, width));
      StoreUpTo(out + i, SiluMultiplied(gate, factor), width);
    });
    gates += kPanelWidth;
    factors += kPanelWidth;
    out += target.out_stride;
  }
}

void StoreGatedPanel(const float* gates, const float* gate_bias, const float* factors,
                     const float* factor_bias, const StoreTarget& target) {
  switch (target.type) {
    case ElementType::kFloat32:
      return StoreGatedPanelAs<float>(gates, gate_bias, factors, factor_bias, target);
    case ElementType::kFloat16:
      return StoreGatedPanelAs<Float16>(gates, gate_bias, factors, factor_bias, target);
    case ElementType::kBFloat16:
      return StoreGatedPanelAs<BFloat16>(gates, gate_bias, factors, factor_bias, target);
  }
}

template <typename T>
void RotateHeadAs(const T* in, const float* cos, const float* sin, int half, T* out) {
  ForEachVec(half, [&](int64_t i, int width) {
    const Vec first = LoadUpTo(in + i, width), second = LoadUpTo(in + half + i, width);
    const Vec c = LoadUpTo(cos + i, width), s = LoadUpTo(sin + i, width);
    StoreUpTo(out + i, Sub(Mul(first, c), Mul(second, s)), width);
    StoreUpTo(out + half + i, Add(Mul(second, c), Mul(first, s)), width);
  });
}

void RotateHead(const void* in, const float* cos, const float* sin, int half, ElementType type,
                void* out) {
  switch (type) {
    case ElementType::kFloat32:
      return RotateHeadAs(static_cast<const float*>(in), cos, sin, half, static_cast<float*>(out));
    case ElementType::kFloat16:
      return RotateHeadAs(static_cast<const Float16*>(in), cos, sin, half,
                          static_cast<Float16*>(out));
    case ElementType::kBFloat16:
      return RotateHeadAs(static_cast<const BFloat16*>(in), cos, sin, half,
                          static_cast<BFloat16*>(out));
  }
}

constexpr RowKernels kRowKernels = {.store_panel = StorePanel,
                                    .store_gated_panel = StoreGatedPanel,
                                    .rms_norm_row = RmsNormRow,
                                    .silu_multiply_row = SiluMultiplyRow,
                                    .rotate_head = RotateHead};
