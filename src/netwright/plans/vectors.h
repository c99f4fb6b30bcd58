// Vectors of floats as wide as the processor's, with what kernels ask of them. No header is included.
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));  // anywhere in memory
typedef unsigned Bits __attribute__((vector_size(4 * LANES)));

INLINE Vec load(const float *from, long count) {
    if (count >= LANES) return *(const Loose *)from;
    Vec found = {};
    for (long lane = 0; lane < count; lane++) found[lane] = from[lane];
    return found;
}

INLINE void store(float *to, Vec value, long count) {
    if (count >= LANES) {
        *(Loose *)to = value;
        return;
    }
    for (long lane = 0; lane < count; lane++) to[lane] = value[lane];
}

INLINE Vec all(float value) { return value - (Vec){}; }  // of which nothing is rounded, nor a sign lost

// e^x = scale * (1 + rest), as Cephes' expf; |x| < 88. What is no number stays so.
INLINE void exponential(Vec x, Vec &scale, Vec &rest) {
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which then lies in the low bits
    Vec shifted = x * 1.44269504088896341f + magic;
    Vec whole = shifted - magic;
    Vec r = x - whole * 0.693359375f;
    r = r + whole * 2.12194440e-4f;
    Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    rest = p * (r * r) + r;
    scale = (Vec)(((Bits)shifted << 23) + 0x3f800000u);
}

INLINE Vec within(Vec x, float most) {
    Vec high = all(most), low = all(-most);
    x = x > high ? high : x;
    return x < low ? low : x;
}

INLINE Vec exponential(Vec x) {
    Vec scale, rest;
    exponential(within(x, 87.0f), scale, rest);
    return scale + scale * rest;
}

INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE Vec tanh_of(Vec x) {  // by e^2x - 1, which is exact to a rounding where x is small
    Vec scale, rest;
    exponential(within(x + x, 40.0f), scale, rest);
    Vec less = (scale - 1.0f) + scale * rest;
    return less / (less + 2.0f);
}
