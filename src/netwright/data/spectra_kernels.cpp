// Log-mel spectra of sounds of 16 bits: windows, Fourier transforms, mel bands, logarithms.
//
// Eight frames are done side by side, one in each lane of a vector, so that a transform needs no shuffles. That of N
// real numbers is one of N / 2 complex ones, in place, by factors of 4 (a last one of 2), the even samples as real and
// the odd ones as imaginary parts: Cooley & Tukey 1965, Math. Comput. 19:297; the split of its result: Press et al.,
// "Numerical Recipes", 12.3.

#include "../logarithm.h"

enum { LANES = 8 };
typedef float Vec __attribute__((vector_size(32)));
typedef float Loose __attribute__((vector_size(32), aligned(4), may_alias));
typedef int Whole __attribute__((vector_size(32)));
typedef unsigned Bits __attribute__((vector_size(32)));
typedef short Samples __attribute__((vector_size(16), aligned(2), may_alias));

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (Whole){__VA_ARGS__})
#endif

struct Plan {
    long window, hop, points, bands;  // samples of a frame and between frames; complex numbers of a transform
    const float *weights;             // of a frame's samples, halved; zeros up to a multiple of LANES
    const float *turns;               // for each factor of 4 but the last: cosines and sines of three angles
    const float *halves;              // cosines and sines of pi k / points, k from 0 to points / 2
    const int *order;                 // where in the transform's result each of its numbers lies
    const int *first, *count;         // of each band: its bins
    const float *shares;              // of these, one band's after the other's
    float floor;
};

INLINE void transpose(Vec *rows) {
    Vec a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = PICK(rows[2 * i], rows[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[2 * i + 1] = PICK(rows[2 * i], rows[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            b[4 * i + 2 * j] = PICK(a[4 * i + j], a[4 * i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            b[4 * i + 2 * j + 1] = PICK(a[4 * i + j], a[4 * i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        rows[i] = PICK(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        rows[i + 4] = PICK(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

// Samples of a frame that begins at `begin`, which may lie before or after the sound, times the window's weights.
static void take(const Plan &plan, const short *wave, long samples, long begin, float *row) {
    long from = begin < 0 ? -begin : 0, to = samples - begin < plan.window ? samples - begin : plan.window;
    if (from > 0 || to < plan.window) {
        for (long i = 0; i < plan.window; i++) row[i] = i >= from && i < to ? wave[begin + i] * plan.weights[i] : 0.0f;
        return;
    }
    long i = 0;
    for (; i + LANES <= plan.window; i += LANES) {
        Vec values = __builtin_convertvector(*(const Samples *)(wave + begin + i), Vec);
        *(Loose *)(row + i) = values * *(const Loose *)(plan.weights + i);
    }
    for (; i < plan.window; i++) row[i] = wave[begin + i] * plan.weights[i];
}

INLINE void turned(Vec *to, Vec real, Vec imaginary, const float *turn) {
    to[0] = real * turn[0] + imaginary * turn[1];
    to[1] = imaginary * turn[0] - real * turn[1];
}

INLINE void four(Vec *a, Vec *b, Vec *c, Vec *d, const float *turn) {
    Vec sum_r = a[0] + c[0], sum_i = a[1] + c[1], less_r = a[0] - c[0], less_i = a[1] - c[1];
    Vec both_r = b[0] + d[0], both_i = b[1] + d[1], apart_r = b[1] - d[1], apart_i = d[0] - b[0];
    a[0] = sum_r + both_r;
    a[1] = sum_i + both_i;
    if (turn) {
        turned(b, less_r + apart_r, less_i + apart_i, turn);
        turned(c, sum_r - both_r, sum_i - both_i, turn + 2);
        turned(d, less_r - apart_r, less_i - apart_i, turn + 4);
    } else {
        b[0] = less_r + apart_r, b[1] = less_i + apart_i;
        c[0] = sum_r - both_r, c[1] = sum_i - both_i;
        d[0] = less_r - apart_r, d[1] = less_i - apart_i;
    }
}

static void transform(const Plan &plan, Vec *numbers) {
    const float *turn = plan.turns;
    long span = plan.points;
    for (; span > 4; span /= 4) {
        long quarter = span / 4;
        for (long j = 0; j < quarter; j++, turn += 6)
            for (Vec *at = numbers + 2 * j; at < numbers + 2 * plan.points; at += 2 * span)
                four(at, at + 2 * quarter, at + 4 * quarter, at + 6 * quarter, j ? turn : nullptr);
    }
    if (span == 4)
        for (Vec *at = numbers; at < numbers + 2 * plan.points; at += 8) four(at, at + 2, at + 4, at + 6, nullptr);
    if (span == 2)
        for (Vec *at = numbers; at < numbers + 2 * plan.points; at += 4)
            for (int part = 0; part < 2; part++) {
                Vec sum = at[part] + at[part + 2], less = at[part] - at[part + 2];
                at[part] = sum, at[part + 2] = less;
            }
}

INLINE void powers_of(const Plan &plan, const Vec *numbers, Vec *powers) {
    long points = plan.points;
    Vec low = 2.0f * (numbers[0] + numbers[1]), high = 2.0f * (numbers[0] - numbers[1]);
    powers[0] = low * low;
    powers[points] = high * high;
    for (long k = 1; 2 * k <= points; k++) {
        const Vec *one = numbers + 2 * plan.order[k], *other = numbers + 2 * plan.order[points - k];
        Vec even_r = one[0] + other[0], even_i = one[1] - other[1];
        Vec odd_r = one[1] + other[1], odd_i = other[0] - one[0];
        float cosine = plan.halves[2 * k], sine = plan.halves[2 * k + 1];
        Vec add_r = odd_r * cosine + odd_i * sine, add_i = odd_i * cosine - odd_r * sine;
        Vec real = even_r + add_r, imaginary = even_i + add_i;
        powers[k] = real * real + imaginary * imaginary;
        real = even_r - add_r, imaginary = even_i - add_i;
        powers[points - k] = real * real + imaginary * imaginary;
    }
}

// Bins of all bands, and their logarithms, to a row of `bands` numbers for each frame.
static void bands_of(const Plan &plan, const Vec *powers, long frames, float *out) {
    const float *share = plan.shares;
    Vec rows[LANES];
    for (long band = 0; band < plan.bands; band += LANES) {
        long here = plan.bands - band < LANES ? plan.bands - band : LANES;
        for (long i = 0; i < LANES; i++) {
            Vec sum = {}, more = {};
            if (i < here) {
                const Vec *at = powers + plan.first[band + i];
                long count = plan.count[band + i], bin = 0;
                for (; bin + 2 <= count; bin += 2) {
                    sum += at[bin] * share[bin];
                    more += at[bin + 1] * share[bin + 1];
                }
                if (bin < count) sum += at[bin] * share[bin];
                share += count;
            }
            sum += more;
            Vec least = plan.floor - (Vec){};
            rows[i] = logarithm_by<Bits>(sum > least ? sum : least);
        }
        transpose(rows);
        for (long frame = 0; frame < frames; frame++) {
            float *to = out + frame * plan.bands + band;
            if (here == LANES)
                *(Loose *)to = rows[frame];
            else
                for (long i = 0; i < here; i++) to[i] = rows[frame][i];
        }
    }
}

extern "C" {

// The spectra of one sound, of which there are `frames`; frame f begins `before` samples ahead of f * hop. `room` is
// for 3 * points + window + LANES + 2 vectors.
void log_mel(const Plan *given, const short *wave, long samples, long frames, long before, float *room, float *out) {
    const Plan plan = *given;
    // Plain memory is aligned to 16 bytes alone.
    Vec *numbers = (Vec *)(((unsigned long)room + 31) & ~31ul);
    Vec *powers = numbers + 2 * plan.points;
    float *rows = (float *)(powers + plan.points + 1);
    long wide = (plan.window + LANES - 1) / LANES * LANES;
    for (long i = 0; i < LANES * wide; i++) rows[i] = 0.0f;
    for (long frame = 0; frame < frames; frame += LANES) {
        long here = frames - frame < LANES ? frames - frame : LANES;
        for (long lane = 0; lane < here; lane++)
            take(plan, wave, samples, (frame + lane) * plan.hop - before, rows + lane * wide);
        for (long i = 0; i < wide; i += LANES) {
            Vec *block = numbers + i;
            for (long lane = 0; lane < LANES; lane++) block[lane] = *(const Loose *)(rows + lane * wide + i);
            transpose(block);
        }
        for (long i = wide; i < 2 * plan.points; i++) numbers[i] = (Vec){};
        transform(plan, numbers);
        powers_of(plan, numbers, powers);
        bands_of(plan, powers, here, out + frame * plan.bands);
    }
}
}
