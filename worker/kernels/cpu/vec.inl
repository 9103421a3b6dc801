// Vec: one vector register of floats, for the instruction set that this file is compiled for.
// Included inside an unnamed namespace of each kernels_*.cc, so that nothing here has linkage.

#if defined(__AVX512F__)

struct Vec {
  static constexpr int kWidth = 16;
  __m512 v;
};
inline Vec Set(float x) { return {_mm512_set1_ps(x)}; }
inline Vec Load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline Vec Load(const Float16* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline Vec WidenBFloat16(__m256i bits) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
inline Vec Load(const BFloat16* p) {
  return WidenBFloat16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// The even or odd elements of kWidth pairs.
inline Vec LoadEven(const BFloat16* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
inline Vec LoadOdd(const BFloat16* p) {
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), high))};
}
inline void Store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
inline void StorePastCaches(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
inline void Store(Float16* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#if defined(__AVX512BF16__)
inline void Store(BFloat16* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(a.v));
}
#else
inline void Store(BFloat16* p, Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  rounded = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc00000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}
#endif
inline Vec Add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec Sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec Mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec Div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
// Max and Min return b where either is NaN.
inline Vec Max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec Min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
// a · b + c
inline Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// a where x < limit does not hold, else 0
inline Vec ZeroWhereLess(Vec a, Vec x, Vec limit) {
  return {
      _mm512_mask_mov_ps(a.v, _mm512_cmp_ps_mask(x.v, limit.v, _CMP_LT_OQ), _mm512_setzero_ps())};
}
inline Vec Round(Vec a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// a · 2^n of integral n in [-126, 127]
inline Vec Scale(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }

#elif defined(__AVX2__)

struct Vec {
  static constexpr int kWidth = 8;
  __m256 v;
};
inline Vec Set(float x) { return {_mm256_set1_ps(x)}; }
inline Vec Load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline Vec Load(const Float16* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline Vec Load(const BFloat16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
}
inline Vec LoadEven(const BFloat16* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))};
}
inline Vec LoadOdd(const BFloat16* p) {
  const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(pairs, high))};
}
inline void Store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
inline void StorePastCaches(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
inline void Store(Float16* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline void Store(BFloat16* p, Vec a) {
  const __m256i bits = _mm256_castps_si256(a.v);
  const __m256i lsb = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(lsb, _mm256_set1_epi32(0x7fff)));
  const __m256 nan = _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q);
  const __m256 result = _mm256_blendv_ps(_mm256_castsi256_ps(rounded),
                                         _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), nan);
  const __m256i high = _mm256_srli_epi32(_mm256_castps_si256(result), 16);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(p),
      _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
}
inline Vec Add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec Sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec Mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec Div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec Min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec ZeroWhereLess(Vec a, Vec x, Vec limit) {
  return {_mm256_andnot_ps(_mm256_cmp_ps(x.v, limit.v, _CMP_LT_OQ), a.v)};
}
inline Vec Round(Vec a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec Scale(Vec a, Vec n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_mul_ps(a.v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))};
}

#else

struct Vec {
  static constexpr int kWidth = 4;
  __m128 v;
};
inline Vec Set(float x) { return {_mm_set1_ps(x)}; }
inline Vec Load(const float* p) { return {_mm_loadu_ps(p)}; }
// Exact for all finite values: the exponent is rebiased by a multiplication, which also normalizes
// subnormals.
inline Vec Load(const Float16* p) {
  const __m128i wide =
      _mm_unpacklo_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), _mm_setzero_si128());
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x8000)), 16);
  const __m128i magnitude = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x7fff)), 13);
  const __m128 scaled = _mm_mul_ps(_mm_castsi128_ps(magnitude),
                                   _mm_castsi128_ps(_mm_set1_epi32(0x77800000)));  // 2^112
  const __m128i infinite =
      _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x0f7fffff)),
                    _mm_set1_epi32(0x7f800000));  // infinity and NaN keep their exponent
  return {_mm_or_ps(_mm_or_ps(scaled, _mm_castsi128_ps(infinite)), _mm_castsi128_ps(sign))};
}
inline Vec Load(const BFloat16* p) {
  return {_mm_castsi128_ps(_mm_unpacklo_epi16(
      _mm_setzero_si128(), _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))))};
}
inline Vec LoadEven(const BFloat16* p) {
  const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm_castsi128_ps(_mm_slli_epi32(pairs, 16))};
}
inline Vec LoadOdd(const BFloat16* p) {
  const __m128i pairs = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i high = _mm_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm_castsi128_ps(_mm_and_si128(pairs, high))};
}
inline void Store(float* p, Vec a) { _mm_storeu_ps(p, a.v); }
inline void StorePastCaches(float* p, Vec a) { _mm_stream_ps(p, a.v); }
inline uint16_t Float16Bits(uint32_t bits) {
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65536 and above
  uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  const uint32_t exponent = magnitude >> 23;
  const bool subnormal = exponent < 113;
  const uint32_t shift = subnormal ? 126 - exponent : 13;
  if (shift > 24) return static_cast<uint16_t>(sign);
  const uint32_t base =
      subnormal ? 0 : (exponent - 113) << 10;  // the implicit bit adds one to the exponent
  const uint32_t rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
  mantissa >>= shift;
  if (rest > half || (rest == half && (mantissa & 1u) != 0)) ++mantissa;
  return static_cast<uint16_t>(sign | (base + mantissa));
}
inline void Store(Float16* p, Vec a) {
  alignas(16) uint32_t bits[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(bits), _mm_castps_si128(a.v));
  for (int i = 0; i < 4; ++i) p[i].bits = Float16Bits(bits[i]);
}
inline void Store(BFloat16* p, Vec a) {
  alignas(16) uint32_t bits[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(bits), _mm_castps_si128(a.v));
  for (int i = 0; i < 4; ++i) {
    const bool nan = (bits[i] & 0x7fffffffu) > 0x7f800000u;
    p[i].bits =
        nan ? 0x7fc0 : static_cast<uint16_t>((bits[i] + 0x7fffu + ((bits[i] >> 16) & 1u)) >> 16);
  }
}
inline Vec Add(Vec a, Vec b) { return {_mm_add_ps(a.v, b.v)}; }
inline Vec Sub(Vec a, Vec b) { return {_mm_sub_ps(a.v, b.v)}; }
inline Vec Mul(Vec a, Vec b) { return {_mm_mul_ps(a.v, b.v)}; }
inline Vec Div(Vec a, Vec b) { return {_mm_div_ps(a.v, b.v)}; }
inline Vec Max(Vec a, Vec b) { return {_mm_max_ps(a.v, b.v)}; }
inline Vec Min(Vec a, Vec b) { return {_mm_min_ps(a.v, b.v)}; }
inline Vec MulAdd(Vec a, Vec b, Vec c) { return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)}; }
inline Vec ZeroWhereLess(Vec a, Vec x, Vec limit) {
  return {_mm_andnot_ps(_mm_cmplt_ps(x.v, limit.v), a.v)};
}
inline Vec Round(Vec a) { return {_mm_cvtepi32_ps(_mm_cvtps_epi32(a.v))}; }  // |a| < 2^31
inline Vec Scale(Vec a, Vec n) {
  const __m128i exponent = _mm_add_epi32(_mm_cvtps_epi32(n.v), _mm_set1_epi32(127));
  return {_mm_mul_ps(a.v, _mm_castsi128_ps(_mm_slli_epi32(exponent, 23)))};
}

#endif

// The first num < kWidth elements; the others are zero.
template <typename T>
inline Vec LoadPartial(const T* p, int num) {
  T buffer[Vec::kWidth] = {};
  for (int i = 0; i < num; ++i) buffer[i] = p[i];
  return Load(buffer);
}

template <typename T>
inline void StorePartial(T* p, Vec a, int num) {
  T buffer[Vec::kWidth];
  Store(buffer, a);
  for (int i = 0; i < num; ++i) p[i] = buffer[i];
}

// Calls function(index, width) over vectors of a row; the last one may be partial.
template <typename Function>
inline void ForEachVec(int64_t num, const Function& function) {
  int64_t i = 0;
  for (; i + Vec::kWidth <= num; i += Vec::kWidth) function(i, Vec::kWidth);
  if (i < num) function(i, static_cast<int>(num - i));
}

template <typename T>
inline Vec LoadUpTo(const T* p, int num) {
  return num == Vec::kWidth ? Load(p) : LoadPartial(p, num);
}

template <typename T>
inline void StoreUpTo(T* p, Vec a, int num) {
  if (num == Vec::kWidth) {
    Store(p, a);
  } else {
    StorePartial(p, a, num);
  }
}

// Horizontal: lane i with lane i + width / 2 until one is left, the same order for every register
// width.
inline float SumLanes(__m128 a) {
  const __m128 pair = _mm_add_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}
inline float MaximumOfLanes(__m128 a) {
  const __m128 pair = _mm_max_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
}
#if defined(__AVX2__)
inline float SumLanes(__m256 a) {
  return SumLanes(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
}
inline float MaximumOfLanes(__m256 a) {
  return MaximumOfLanes(_mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)));
}
#endif
#if defined(__AVX512F__)
inline float SumLanes(__m512 a) {
  return SumLanes(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
inline float MaximumOfLanes(__m512 a) {
  return MaximumOfLanes(_mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
}
#endif
inline float Sum(Vec a) { return SumLanes(a.v); }
inline float Maximum(Vec a) { return MaximumOfLanes(a.v); }

// e^x to within 2 units in the last place: x = n·ln2 + r, e^r by a polynomial on |r| <= ln2/2 (the
// coefficients are Cephes's expf, Moshier). 0 below -87.3, saturating above 88.3, NaN for NaN.
inline Vec Exp(Vec x) {
  const Vec lowest = Set(-87.33654f);
  const Vec clamped = Max(lowest, Min(Set(88.3f), x));
  const Vec n = Round(Mul(clamped, Set(1.44269504f)));
  Vec r = MulAdd(n, Set(-0.693359375f), clamped);
  r = MulAdd(n, Set(2.12194440e-4f), r);
  Vec p = Set(1.9875691500e-4f);
  p = MulAdd(p, r, Set(1.3981999507e-3f));
  p = MulAdd(p, r, Set(8.3334519073e-3f));
  p = MulAdd(p, r, Set(4.1665795894e-2f));
  p = MulAdd(p, r, Set(1.6666665459e-1f));
  p = MulAdd(p, r, Set(5.0000001201e-1f));
  p = Add(MulAdd(p, Mul(r, r), r), Set(1.0f));
  return ZeroWhereLess(Scale(p, n), x, lowest);
}
