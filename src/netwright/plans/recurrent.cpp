// All steps of one recurrent layer in one direction, float32: forward, and backward to the gradients of its gates.
//
// T steps, B sequences, I inputs, H units. A tile is a few sequences by four vectors: in the forward pass the four gates
// of a vector of units, which are then applied while they are in registers; in the backward pass four vectors of units.
// Sequences do not depend on each other, so that parts of a batch are done by threads without waiting for each other.
//
// Gates of an LSTM lie as torch's, i f g o. Those of a GRU lie n r z and, by itself, what the state gives to n: the
// first three are what the inputs act on, the last three what the state acts on.

#include "vectors.h"

#if defined(__AVX512F__) || defined(__aarch64__)
enum { ROWS = 6 };  // 24 of 32 registers hold sums
#elif defined(__AVX__)
enum { ROWS = 3 };  // 12 of 16
#else
enum { ROWS = 2 };
#endif
enum { WIDE = 4 * LANES };

struct Layer {
    long steps, rows, inputs, units, gru, reverse, parts;
    const float *x, *h0, *c0, *bias;         // (T, B, I), (B, H), (B, H), (4, H)
    const float *of_x, *of_h;                // packed weights: forward; backward the second alone
    float *h, *c, *gates;                    // (T, B, H), (T, B, H), (T, B, 4, H)
    const float *dh;                         // of h: strides follow, of a step and of a sequence
    long dh_step, dh_row;
    float *dgates, *dbias, *dh0, *carry;     // (T, B, 4, H), (parts, 4, H), (B, H); of the cell, or past the gates (B, H)
    long next;                               // part to be done
};

// sums[row][vector] += left[row][k] * right[k][vector] over all k; a row of sums has four vectors, COUNT of them here.
template <int R, int COUNT>
static void product(Vec *sums, const float *left, long stride, const float *right, long count) {
    Vec own[R][COUNT];
    UNROLL for (int row = 0; row < R; row++) UNROLL for (int v = 0; v < COUNT; v++) own[row][v] = sums[row * 4 + v];
    for (long k = 0; k < count; k++, right += COUNT * LANES) {
        Vec weights[COUNT];
        UNROLL for (int v = 0; v < COUNT; v++) weights[v] = *(const Vec *)(right + v * LANES);
        UNROLL for (int row = 0; row < R; row++) {
            Vec one = all(left[row * stride + k]);
            UNROLL for (int v = 0; v < COUNT; v++) own[row][v] += one * weights[v];
        }
    }
    UNROLL for (int row = 0; row < R; row++) UNROLL for (int v = 0; v < COUNT; v++) sums[row * 4 + v] = own[row][v];
}

template <int COUNT>
INLINE void multiply(long rows, Vec *sums, const float *left, long stride, const float *right, long count) {
    switch (rows) {
        case 1: product<1, COUNT>(sums, left, stride, right, count); break;
        case 2: product<2, COUNT>(sums, left, stride, right, count); break;
        case 3: product<ROWS < 3 ? 1 : 3, COUNT>(sums, left, stride, right, count); break;
        case 4: product<ROWS < 4 ? 1 : 4, COUNT>(sums, left, stride, right, count); break;
        case 5: product<ROWS < 5 ? 1 : 5, COUNT>(sums, left, stride, right, count); break;
        case 6: product<ROWS < 6 ? 1 : 6, COUNT>(sums, left, stride, right, count); break;
    }
}

// A tile's gates, state and cell, by the sums of its gates.
template <bool GRU>
static void forward_gates(const Layer &l, long t, const float *h, const float *c, long row, long rows, long unit,
                          const Vec *sums) {
    const long H = l.units, count = H - unit;
    for (long r = 0; r < rows; r++, sums += 4) {
        const long at = (t * l.rows + row + r) * H + unit, before = (row + r) * H + unit;
        float *gates = l.gates + 4 * (at - unit) + unit;
        if (GRU) {
            Vec reset = sigmoid(sums[1]), update = sigmoid(sums[2]), made = tanh_of(sums[0] + reset * sums[3]);
            store(gates, made, count);
            store(gates + H, reset, count);
            store(gates + 2 * H, update, count);
            store(gates + 3 * H, sums[3], count);
            store(l.h + at, made + update * (load(h + before, count) - made), count);
        } else {
            Vec in = sigmoid(sums[0]), forget = sigmoid(sums[1]), made = tanh_of(sums[2]), out = sigmoid(sums[3]);
            Vec cell = forget * load(c + before, count) + in * made;
            store(gates, in, count);
            store(gates + H, forget, count);
            store(gates + 2 * H, made, count);
            store(gates + 3 * H, out, count);
            store(l.c + at, cell, count);
            store(l.h + at, out * tanh_of(cell), count);
        }
    }
}

// Gradients of the sums of a tile's gates, by those of its states.
template <bool GRU>
static void backward_gates(const Layer &l, long t, const float *old, long row, long rows, long unit, const Vec *sums,
                           float *dbias) {
    const long H = l.units;
    for (long v = 0; v < 4 && unit + v * LANES < H; v++) {
        const long here = unit + v * LANES, count = H - here;
        Vec total[4] = {};
        for (long r = 0; r < rows; r++) {
            const long place = (row + r) * H + here, at = t * l.rows * H + place;
            const long gate = (t * l.rows + row + r) * 4 * H + here;
            Vec g[4], d[4], dh = sums[r * 4 + v], past = load(old + place, count);
            UNROLL for (int k = 0; k < 4; k++) g[k] = load(l.gates + gate + k * H, count);
            if (GRU) {
                d[0] = dh * (1.0f - g[2]) * (1.0f - g[0] * g[0]);
                d[1] = d[0] * g[3] * g[1] * (1.0f - g[1]);
                d[2] = dh * (past - g[0]) * g[2] * (1.0f - g[2]);
                d[3] = d[0] * g[1];
                store(l.carry + place, dh * g[2], count);
            } else {
                Vec cell = tanh_of(load(l.c + at, count));
                Vec dc = load(l.carry + place, count) + dh * g[3] * (1.0f - cell * cell);
                d[0] = dc * g[2] * g[0] * (1.0f - g[0]);
                d[1] = dc * past * g[1] * (1.0f - g[1]);
                d[2] = dc * g[0] * (1.0f - g[2] * g[2]);
                d[3] = dh * cell * g[3] * (1.0f - g[3]);
                store(l.carry + place, dc * g[1], count);
            }
            UNROLL for (int k = 0; k < 4; k++) {
                store(l.dgates + gate + k * H, d[k], count);
                total[k] += d[k];
            }
        }
        UNROLL for (int k = 0; k < 4; k++)
            store(dbias + k * H + here, load(dbias + k * H + here, count) + total[k], count);
    }
}

// The tile at a row, of sequences first to last in tiles that are about as high.
INLINE long height(long first, long last, long row) {
    const long rows = last - first, tiles = (rows + ROWS - 1) / ROWS, base = rows / tiles, larger = rows % tiles;
    return row - first < larger * (base + 1) ? base + 1 : base;
}

template <bool GRU>
static void forward_part(const Layer &l, long first, long last) {
    constexpr int COUNT = GRU ? 3 : 4;
    const long H = l.units;
    Vec sums[ROWS * 4];
    for (long step = 0; step < l.steps; step++) {
        const long t = l.reverse ? l.steps - 1 - step : step, before = l.reverse ? t + 1 : t - 1;
        const float *h = step ? l.h + before * l.rows * H : l.h0, *c = step ? l.c + before * l.rows * H : l.c0;
        for (long unit = 0; unit < H; unit += LANES) {
            const float *of_x = l.of_x + unit * l.inputs * COUNT, *of_h = l.of_h + unit * H * COUNT;
            Vec bias[4];
            for (int v = 0; v < 4; v++) bias[v] = load(l.bias + v * H + unit, H - unit);
            for (long row = first, rows; row < last; row += rows) {
                rows = height(first, last, row);
                for (long r = 0; r < rows * 4; r++) sums[r] = bias[r % 4];
                multiply<COUNT>(rows, sums, l.x + (t * l.rows + row) * l.inputs, l.inputs, of_x, l.inputs);
                multiply<COUNT>(rows, sums + (GRU ? 1 : 0), h + row * H, H, of_h, H);
                forward_gates<GRU>(l, t, h, c, row, rows, unit, sums);
            }
        }
    }
}

template <bool GRU>
static void backward_part(const Layer &l, long first, long last, float *dbias) {
    const long H = l.units, depth = (GRU ? 3 : 4) * H, way = l.reverse ? -1 : 1;
    const long start = l.reverse ? l.steps - 1 : 0;
    Vec sums[ROWS * 4];
    for (long k = 0; k < 4 * H; k++) dbias[k] = 0;
    for (long step = l.steps - 1; step >= -1; step--) {  // the last turn is that of the first state
        const long t = start + way * step;
        const float *after = step < l.steps - 1 ? l.dgates + (t + way) * l.rows * 4 * H + (GRU ? H : 0) : 0;
        const float *old = step > 0 ? (GRU ? l.h : l.c) + (t - way) * l.rows * H : GRU ? l.h0 : l.c0;
        for (long unit = 0; unit < H; unit += WIDE)
            for (long row = first, rows; row < last; row += rows) {
                rows = height(first, last, row);
                for (long r = 0; r < rows * 4; r++) {
                    const long here = unit + r % 4 * LANES;
                    Vec sum = {};
                    if (step >= 0) sum = load(l.dh + t * l.dh_step + (row + r / 4) * l.dh_row + here, H - here);
                    if (GRU) sum += load(l.carry + (row + r / 4) * H + here, H - here);
                    sums[r] = sum;
                }
                const float *left = after + row * 4 * H, *right = l.of_h + unit * depth;
                if (after) switch ((H - unit + LANES - 1) / LANES) {
                    case 1: multiply<1>(rows, sums, left, 4 * H, right, depth); break;
                    case 2: multiply<2>(rows, sums, left, 4 * H, right, depth); break;
                    case 3: multiply<3>(rows, sums, left, 4 * H, right, depth); break;
                    default: multiply<4>(rows, sums, left, 4 * H, right, depth);
                }
                if (step >= 0) backward_gates<GRU>(l, t, old, row, rows, unit, sums, dbias);
                else
                    for (long r = 0; r < rows * 4; r++) {
                        const long here = unit + r % 4 * LANES;
                        store(l.dh0 + (row + r / 4) * H + here, sums[r], H - here);
                    }
            }
    }
}

template <bool BACKWARD>
static void work(void *given) {
    Layer &l = *(Layer *)given;
    for (;;) {
        const long part = __atomic_fetch_add(&l.next, 1, __ATOMIC_RELAXED);
        if (part >= l.parts) return;
        const long first = part * l.rows / l.parts, last = (part + 1) * l.rows / l.parts;
        float *dbias = l.dbias + part * 4 * l.units;
        if (BACKWARD && l.gru) backward_part<true>(l, first, last, dbias);
        else if (BACKWARD) backward_part<false>(l, first, last, dbias);
        else if (l.gru) forward_part<true>(l, first, last);
        else forward_part<false>(l, first, last);
    }
}

// torch's own threads do the parts, where its OpenMP is known: others would have to share the cores with them, since
// they wait by spinning.
typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned);

extern "C" {

void forward(Layer *layer, Parallel parallel) {
    if (parallel && layer->parts > 1) parallel(work<false>, layer, (unsigned)layer->parts, 0);
    else work<false>(layer);
}

void backward(Layer *layer, Parallel parallel) {
    if (parallel && layer->parts > 1) parallel(work<true>, layer, (unsigned)layer->parts, 0);
    else work<true>(layer);
}

// Weights (gates, H, count) for the forward pass: (ceil(H / LANES), count, gates, LANES); gate g is the one at order[g].
void pack_forward(const float *weights, float *packed, long units, long count, long gates, const long *order) {
    for (long unit = 0; unit < units; unit += LANES)
        for (long gate = 0; gate < gates; gate++)
            for (long lane = 0; lane < LANES; lane++) {
                const float *from = weights + (order[gate] * units + unit + lane) * count;
                float *to = packed + (unit / LANES * count * gates + gate) * LANES + lane;
                const bool inside = unit + lane < units;
                for (long k = 0; k < count; k++) to[k * gates * LANES] = inside ? from[k] : 0.0f;
            }
}

// Weights (depth, H) for the backward pass: (ceil(H / WIDE), depth, WIDE), the last one as wide as it must be.
void pack_backward(const float *weights, float *packed, long units, long depth) {
    for (long unit = 0; unit < units; unit += WIDE)
        for (long k = 0; k < depth; k++)
            for (long here = unit; here < unit + WIDE && here < units; here += LANES, packed += LANES)
                *(Vec *)packed = load(weights + k * units + here, units - here);
}

long lanes(void) { return LANES; }
}
