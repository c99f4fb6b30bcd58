// The natural logarithm of vectors of floats, as Cephes' logf (Moshier), of normal numbers above 0; what is no number
// stays so. `Bits` are vectors of unsigned integers as many. No header is included.
template <class Bits, class Vec> static inline __attribute__((always_inline)) Vec logarithm_by(Vec x) {
    Bits bits = (Bits)x;
    Vec whole = __builtin_convertvector(bits >> 23, Vec) - 127.0f, m = (Vec)((bits & 0x7fffffu) | 0x3f800000u);
    Vec above = m > 1.41421356f - (Vec){} ? 1.0f - (Vec){} : (Vec){};
    Vec t = m * (1.0f - 0.5f * above) - 1.0f;
    whole += above;
    Vec p = t * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * t + 1.1676998740e-1f;
    p = p * t - 1.2420140846e-1f;
    p = p * t + 1.4249322787e-1f;
    p = p * t - 1.6668057665e-1f;
    p = p * t + 2.0000714765e-1f;
    p = p * t - 2.4999993993e-1f;
    p = p * t + 3.3333331174e-1f;
    Vec small = p * t * t * t - whole * 2.12194440e-4f - 0.5f * t * t;
    return t + small + whole * 0.693359375f + (x - x);
}
