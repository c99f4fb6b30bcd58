/* Convolutions of 3x3 with stride 1 by fewer products: Winograd's F(4x4, 3x3), as in Lavin and Gray, "Fast Algorithms
 * for Convolutional Neural Networks" (2016). A tile of 4x4 outputs takes 36 products of each pair of channels, not 144.
 *
 * Pictures lie channels last, (N, H, W, C), of 32-bit floats; channels are a multiple of LANES. Frequencies, of which
 * there are 36, are the outermost dimension of all that is transformed.
 */

#ifndef LANES
#error "LANES, the floats that are worked on at once, is 8 or 16"
#endif
#if defined(__AVX512F__) /* 32 registers */
#define ROWS 8
#else
#define ROWS 4
#endif
#define SIDE 6
#define STEP 4
#define FREQUENCIES 36

typedef float lanes __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

struct Job {
    long height, width, channels; /* of what is read */
    long out_height, out_width, out_channels;
    long padding, chunk, tiles; /* tiles of all pictures */
    long parts, next;           /* parts of the tiles, of which `next` is to be done */
    const float *input, *weights, *bias, *gradient;
    float *output, *work; /* work: 36 * chunk * (C + K) floats for each part */
};

/* OpenMP's: calls a function in several threads, and comes back when all are done. */
typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned);

/* The six points are 0, A, -A, B, -B and infinity. With B = 1 / A roundings grow half as much as with 1 and 2, the
 * usual ones: errors of 5e-7 and 1.1e-6 of the outputs (root mean square, 32 channels). */
#define A (2.f / 3)
#define B (3.f / 2)

/* B'd: six values of an input to six frequencies. */
static inline __attribute__((always_inline)) void of_input(const lanes d[SIDE], lanes t[SIDE]) {
    lanes even = d[4] - B * B * d[2], odd = A * d[3] - B * d[1], near = d[4] - A * A * d[2], far = B * d[3] - A * d[1];
    t[0] = d[0] + d[4] - (A * A + B * B) * d[2];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = near + far;
    t[4] = near - far;
    t[5] = d[1] + d[5] - (A * A + B * B) * d[3];
}

/* A'm: six frequencies to four outputs. */
static inline __attribute__((always_inline)) void to_output(const lanes m[SIDE], lanes y[STEP]) {
    lanes sum = m[1] + m[2], difference = m[1] - m[2], wide = m[3] + m[4], wider = m[3] - m[4];
    y[0] = m[0] + sum + wide;
    y[1] = A * difference + B * wider;
    y[2] = A * A * sum + B * B * wide;
    y[3] = A * A * A * difference + B * B * B * wider + m[5];
}

/* Ae: four gradients of outputs to six frequencies. */
static inline __attribute__((always_inline)) void of_gradient(const lanes e[STEP], lanes r[SIDE]) {
    lanes even = e[0] + A * A * e[2], odd = A * e[1] + A * A * A * e[3];
    lanes wide = e[0] + B * B * e[2], wider = B * e[1] + B * B * B * e[3];
    r[0] = e[0];
    r[1] = even + odd;
    r[2] = even - odd;
    r[3] = wide + wider;
    r[4] = wide - wider;
    r[5] = e[3];
}

static inline __attribute__((always_inline)) lanes pixel(
    const float *picture, long y, long x, long height, long width, long channels) {
    if ((unsigned long)y >= (unsigned long)height || (unsigned long)x >= (unsigned long)width) return (lanes){0};
    return *(const lanes *)(picture + (y * width + x) * channels);
}

/* Tiles first to last of pictures, as frequencies: `found` is (36, chunk, channels). A tile is TAKEN by TAKEN pixels,
 * begins STEP after the one before, the first of a picture `padding` before it, and `turn` takes a row or a column. */
template <int TAKEN, void turn(const lanes *, lanes *)>
static void tiles_of(const float *from, float *found, const Job *job, long height, long width, long channels,
                     long padding, long first, long last) {
    long across = (job->out_width + STEP - 1) / STEP, down = (job->out_height + STEP - 1) / STEP;
    long apart = job->chunk * channels;
    for (long tile = first; tile < last; tile++) {
        long place = tile % (across * down), y = place / across * STEP - padding, x = place % across * STEP - padding;
        const float *picture = from + tile / (across * down) * height * width * channels;
        float *to = found + (tile - first) * channels;
        for (long c = 0; c < channels; c += LANES) {
            lanes held[SIDE][TAKEN], column[TAKEN], turned[SIDE];
#pragma GCC unroll 6
            for (int j = 0; j < TAKEN; j++) {
#pragma GCC unroll 6
                for (int i = 0; i < TAKEN; i++)
                    column[i] = pixel(picture + c, y + i, x + j, height, width, channels);
                turn(column, turned);
#pragma GCC unroll 6
                for (int i = 0; i < SIDE; i++) held[i][j] = turned[i];
            }
#pragma GCC unroll 6
            for (int i = 0; i < SIDE; i++) {
                turn(held[i], turned);
#pragma GCC unroll 6
                for (int j = 0; j < SIDE; j++) *(lanes *)(to + (i * SIDE + j) * apart + c) = turned[j];
            }
        }
    }
}

/* Of what is read, (N, H, W, C). */
static void input_tiles(const Job *job, float *found, long first, long last) {
    tiles_of<SIDE, of_input>(
        job->input, found, job, job->height, job->width, job->channels, job->padding, first, last);
}

/* Of gradients of outputs, (N, OH, OW, K). */
static void gradient_tiles(const Job *job, float *found, long first, long last) {
    tiles_of<STEP, of_gradient>(
        job->gradient, found, job, job->out_height, job->out_width, job->out_channels, 0, first, last);
}

/* Frequencies, (36, chunk, K), back to tiles of outputs. */
static void output_tiles(
    const float *found, const float *bias, float *output, const Job *job, long first, long last) {
    long height = job->out_height, width = job->out_width, channels = job->out_channels;
    long across = (width + STEP - 1) / STEP, down = (height + STEP - 1) / STEP, apart = job->chunk * channels;
    for (long tile = first; tile < last; tile++) {
        long place = tile % (across * down), y = place / across * STEP, x = place % across * STEP;
        float *picture = output + tile / (across * down) * height * width * channels;
        const float *from = found + (tile - first) * channels;
        long below = height - y < STEP ? height - y : STEP, right = width - x < STEP ? width - x : STEP;
        for (long c = 0; c < channels; c += LANES) {
            lanes held[STEP][SIDE], column[SIDE], turned[STEP];
            lanes added = bias ? *(const lanes *)(bias + c) : (lanes){0};
#pragma GCC unroll 6
            for (int j = 0; j < SIDE; j++) {
#pragma GCC unroll 6
                for (int i = 0; i < SIDE; i++) column[i] = *(const lanes *)(from + (i * SIDE + j) * apart + c);
                to_output(column, turned);
#pragma GCC unroll 4
                for (int i = 0; i < STEP; i++) held[i][j] = turned[i];
            }
#pragma GCC unroll 4
            for (int i = 0; i < STEP; i++) {
                to_output(held[i], turned);
#pragma GCC unroll 4
                for (int j = 0; j < STEP; j++)
                    if (i < below && j < right)
                        *(lanes *)(picture + ((y + i) * width + x + j) * channels + c) = turned[j] + added;
            }
        }
    }
}

/* ROWS rows by PANELS times LANES columns of a product of `depth`: c = a b, or c += a b. Row m of a begins at
 * a + m * row, and its entry k lies at k * column. Each call sums from zero: one long sum would round more. */
#define PRODUCT(NAME, PANELS)                                                                                         \
    static inline void NAME(const float *a, long row, long column, const float *b, long b_row, float *c, long c_row,  \
                            long depth, bool add) {                                                                   \
        lanes sums[ROWS][PANELS];                                                                                     \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; m++)                                                        \
            _Pragma("GCC unroll 2") for (int p = 0; p < PANELS; p++)                                                  \
                sums[m][p] = (lanes){0};                                                                              \
        for (long k = 0; k < depth; k++) {                                                                            \
            lanes of_b[PANELS];                                                                                       \
            _Pragma("GCC unroll 2") for (int p = 0; p < PANELS; p++)                                                  \
                of_b[p] = *(const lanes *)(b + k * b_row + p * LANES);                                                \
            _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; m++) {                                                  \
                float of_a = a[m * row + k * column];                                                                 \
                _Pragma("GCC unroll 2") for (int p = 0; p < PANELS; p++) sums[m][p] += of_a * of_b[p];                \
            }                                                                                                         \
        }                                                                                                             \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; m++)                                                        \
            _Pragma("GCC unroll 2") for (int p = 0; p < PANELS; p++) {                                                \
                lanes *to = (lanes *)(c + m * c_row + p * LANES);                                                     \
                if (add) *to += sums[m][p];                                                                           \
                else *to = sums[m][p];                                                                                \
            }                                                                                                         \
    }
PRODUCT(wide_product, 2)
PRODUCT(narrow_product, 1)

/* Columns that are taken at once: the panels of transformed weights are so wide. */
static inline long panel_of(long out_channels) { return out_channels % (2 * LANES) ? LANES : 2 * LANES; }

/* output = conv(input, weights) + bias. `weights` is (36, K / panel, C, panel). */
static void forward(const Job *job, long first, long last, float *work, long) {
    long chunk = job->chunk, inner = job->channels, outer = job->out_channels, panel = panel_of(outer);
    float *read = work, *made = work + FREQUENCIES * chunk * inner;
    for (long begin = first; begin < last; begin += chunk) {
        long end = begin + chunk < last ? begin + chunk : last;
        input_tiles(job, read, begin, end);
        for (long f = 0; f < FREQUENCIES; f++)
            for (long column = 0; column < outer; column += panel) {
                const float *b = job->weights + (f * outer + column) * inner;
                for (long row = 0; row < end - begin; row += ROWS) { /* chunk is a multiple of ROWS */
                    const float *a = read + (f * chunk + row) * inner;
                    float *c = made + (f * chunk + row) * outer + column;
                    if (panel == LANES) narrow_product(a, inner, 1, b, panel, c, outer, inner, false);
                    else wide_product(a, inner, 1, b, panel, c, outer, inner, false);
                }
            }
        output_tiles(made, job->bias, job->output, job, begin, end);
    }
}

/* Adds to the part's own output, (36, C, K), the gradients of transformed weights. */
static void weights(const Job *job, long first, long last, float *work, long part) {
    long chunk = job->chunk, inner = job->channels, outer = job->out_channels, panel = panel_of(outer);
    float *read = work, *given = work + FREQUENCIES * chunk * inner;
    float *found = job->output + part * FREQUENCIES * inner * outer;
    for (long begin = first; begin < last; begin += chunk) {
        long end = begin + chunk < last ? begin + chunk : last;
        input_tiles(job, read, begin, end);
        gradient_tiles(job, given, begin, end);
        for (long f = 0; f < FREQUENCIES; f++)
            for (long column = 0; column < outer; column += panel)
                for (long row = 0; row < inner; row += ROWS) {
                    const float *a = read + f * chunk * inner + row, *b = given + f * chunk * outer + column;
                    float *c = found + (f * inner + row) * outer + column;
                    if (panel == LANES) narrow_product(a, 1, inner, b, outer, c, outer, end - begin, true);
                    else wide_product(a, 1, inner, b, outer, c, outer, end - begin, true);
                }
    }
}

/* Parts of a job until none is left. */
template <void function(const Job *, long, long, float *, long)> static void work(void *given) {
    Job *job = (Job *)given;
    for (;;) {
        long part = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED);
        if (part >= job->parts) return;
        float *own = job->work + part * FREQUENCIES * job->chunk * (job->channels + job->out_channels);
        function(job, job->tiles * part / job->parts, job->tiles * (part + 1) / job->parts, own, part);
    }
}

static void do_all(void (*function)(void *), Job *job, Parallel parallel) {
    if (parallel && job->parts > 1) parallel(function, job, (unsigned)job->parts, 0);
    else function(job);
}

extern "C" {

long winograd_panel(long out_channels) { return panel_of(out_channels); }
void winograd_forward(Job *job, Parallel parallel) { do_all(work<forward>, job, parallel); }
void winograd_weights(Job *job, Parallel parallel) { do_all(work<weights>, job, parallel); }

} /* extern "C" */
