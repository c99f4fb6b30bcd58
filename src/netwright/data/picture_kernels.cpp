/* What is done with each 8-bit picture: resizing as Pillow's BILINEAR does it, to the same integers (across, rounded to
 * bytes, then down), and sums of its channels.
 *
 * Pictures lie in rows, a pixel in a `unit` of 1 byte (grey) or 4 (red, green, blue and one that does not count, the
 * first in the lowest bits). Four bytes are worked on as one 32-bit number, of which each byte is weighed by itself.
 * Weights are whole numbers of which SHIFT bits are the fraction; none is negative.
 */

#define SHIFT 22
#define LANES 8
#define VECTORS 2
#define WIDE (VECTORS * LANES * 4) /* bytes that are worked on at once */
#define PIECE 4096L               /* bytes whose squares add up to less than 2^32 in each lane */

typedef unsigned int lanes __attribute__((vector_size(LANES * 4), aligned(1), may_alias));
typedef unsigned int many __attribute__((vector_size(64), aligned(4), may_alias));
typedef unsigned short halves __attribute__((vector_size(32)));
typedef unsigned char bytes __attribute__((vector_size(16), aligned(1), may_alias));
typedef unsigned int __attribute__((may_alias)) colour;

/* How the outputs of one dimension are made: the first input of each, how many, and their weights, `taps` apart. */
struct Plan {
    long taps;
    const int *first, *count, *weights;
};

/* WIDE bytes of an output, of inputs that lie `apart` bytes from one another; the first BYTES of each four count. */
template <int BYTES>
static inline __attribute__((always_inline)) void weigh(
    const unsigned char *from, long apart, const int *weights, int count, unsigned char *to) {
    lanes sums[VECTORS][BYTES];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++)
#pragma GCC unroll 4
        for (int b = 0; b < BYTES; b++) sums[v][b] = (lanes){} + (1u << (SHIFT - 1));
    for (int t = 0; t < count; t++, from += apart) {
        lanes weight = (lanes){} + (unsigned)weights[t];
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; v++) {
            lanes given = ((const lanes *)from)[v];
#pragma GCC unroll 4
            for (int b = 0; b < BYTES; b++) sums[v][b] += (given >> 8u * b & 255u) * weight;
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++) {
        lanes found = {};
#pragma GCC unroll 4
        for (int b = 0; b < BYTES; b++) {
            lanes one = sums[v][b] >> SHIFT;
            found |= (one > 255u ? (lanes){} + 255u : one) << 8u * b; /* by their roundings weights may exceed one */
        }
        ((lanes *)to)[v] = found;
    }
}

/* Rows are taken several at once, as many as fill WIDE bytes: first they are laid side by side, pixel by pixel. */
template <typename Pixel, int BYTES>
static void across(const Pixel *from, long rows, long width, const Plan *plan, long out_width, long out_apart,
                   unsigned char *to, unsigned char *aside) {
    const int each = WIDE / sizeof(Pixel);
    for (long row = 0; row < rows; row += each) {
        const Pixel *line[each];
        for (int r = 0; r < each; r++) line[r] = from + (row + r < rows ? row + r : rows - 1) * width;
        for (long x = 0; x < width; x++)
#pragma GCC unroll 16
            for (int r = 0; r < each; r++) ((Pixel *)aside)[x * each + r] = line[r][x];
        int there = rows - row < each ? rows - row : each;
        unsigned char *begin = to + row * out_apart;
        for (long x = 0; x < out_width; x++) {
            Pixel found[each] __attribute__((aligned(WIDE)));
            weigh<BYTES>(aside + (long)plan->first[x] * WIDE, WIDE, plan->weights + x * plan->taps, plan->count[x],
                         (unsigned char *)found);
            for (int r = 0; r < there; r++) ((Pixel *)(begin + r * out_apart))[x] = found[r];
        }
    }
}

template <int BYTES>
static void down(const unsigned char *from, long apart, const Plan *plan, long y, unsigned char *to) {
    from += (long)plan->first[y] * apart;
    for (long x = 0; x < apart; x += WIDE)
        weigh<BYTES>(from + x, apart, plan->weights + y * plan->taps, plan->count[y], to + x);
}

/* One byte of each of `width` units of four. */
static void part(const unsigned char *from, long width, int channel, unsigned char *to) {
    long x = 0;
    for (; x + 16 <= width; x += 16) {
        many found = *(const many *)(from + 4 * x) >> 8u * channel & 255u;
        *(bytes *)(to + x) = __builtin_convertvector(__builtin_convertvector(found, halves), bytes);
    }
    for (; x < width; x++) to[x] = from[4 * x + channel];
}

extern "C" {

/* From (rows, width) pixels to (rows, out_width) ones, whose rows are out_apart bytes apart. aside: WIDE * width bytes.
 */
void resize_across(const unsigned char *from, long rows, long width, long unit, const Plan *plan, long out_width,
                   long out_apart, unsigned char *to, unsigned char *aside) {
    if (unit == 4) across<colour, 3>((const colour *)from, rows, width, plan, out_width, out_apart, to, aside);
    else across<unsigned char, 4>(from, rows, width, plan, out_width, out_apart, to, aside);
}

/* From rows that are `apart` bytes from one another, a multiple of WIDE, to planes (1 or 3, out_height, width). aside:
 * `apart` bytes. */
void resize_down(const unsigned char *from, long apart, long width, long unit, const Plan *plan, long out_height,
                 unsigned char *to, unsigned char *aside) {
    for (long y = 0; y < out_height; y++, to += width) {
        if (unit == 4) {
            down<3>(from, apart, plan, y, aside);
            for (int channel = 0; channel < 3; channel++) part(aside, width, channel, to + channel * out_height * width);
        } else {
            down<4>(from, apart, plan, y, aside);
            __builtin_memcpy(to, aside, width);
        }
    }
}

/* Of each plane of `size` bytes: the sum, to found[plane], and that of the squares, to found[planes + plane]. */
void plane_sums(const unsigned char *from, long planes, long size, long long *found) {
    for (long plane = 0; plane < planes; plane++, from += size) {
        long long sum = 0, square = 0;
        long x = 0;
        for (; x + PIECE <= size; x += PIECE) {
            lanes sums = {}, squares = {};
            for (long i = 0; i < PIECE; i += 4 * LANES) {
                lanes given = *(const lanes *)(from + x + i);
#pragma GCC unroll 4
                for (int b = 0; b < 4; b++) {
                    lanes one = given >> 8u * b & 255u;
                    sums += one;
                    squares += one * one;
                }
            }
            for (int lane = 0; lane < LANES; lane++) sum += sums[lane], square += squares[lane];
        }
        for (; x < size; x++) sum += from[x], square += (long long)from[x] * from[x];
        found[plane] = sum;
        found[planes + plane] = square;
    }
}
}
