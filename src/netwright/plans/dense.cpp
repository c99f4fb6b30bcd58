// A whole update of a network of dense layers, float32, as a list of operations on matrices that lie row after row;
// then a look whether all is finite, clipping, and the optimizer's step. One thread: such updates are too short for two.
//
// An operation names what it reads and writes by places in a table of addresses.

#include "../logarithm.h"
#include "vectors.h"

enum { ROWS = 6, WIDE = 2 * LANES };  // of a tile of a product: 12 vectors of sums

enum Kind {
    PRODUCT, RELU, RELU_BACK, TANH, TANH_BACK, SIGMOID, SIGMOID_BACK, SILU, SILU_BACK, GELU, GELU_BACK, LEAKY, LEAKY_BACK,
    MULTIPLY, ADD, SUBTRACT, ABSOLUTE, SCALE, DIVIDE, COPY, SUM_ROWS, MEAN_COLUMNS, SUM,
    LOG_SOFTMAX, LOG_SOFTMAX_BACK, PICKED, PICKED_BACK, SQUARES, SQUARES_BACK
};

struct Operation {
    long kind, rows, columns, inner;         // of what is made; inner: of a product, or a class that does not count
    long a_row, a_inner, b_step, b_turned;   // of a product: from a row to the next, and so on; whether b is transposed
    long mean, a, b, c, d;                   // whether a loss is a mean; places: a and b are read, mostly, c is made
    float number;
};
struct Group {
    double rate, decay, beta1, beta2, epsilon, momentum, dampening;
    long kind, nesterov;                     // 0 SGD, 1 Adam, 2 AdamW
};
struct Moved {
    long size, group, weight, gradient, step, first, second;  // places, but for the first two
};
struct Stride {
    long place, bytes;                       // from one update to the next
};
struct Update {
    const Operation *operations;
    const Moved *moved;
    Group *groups;
    void **at;
    float *panel;                            // for the columns of a product: (most inner, WIDE)
    long many, parameters, loss, check;      // check: whether all must be finite
    double most;                             // norm of all gradients; 0: any
    const Stride *strides;                   // of what a batch brings, and of what an update gives
    const double *rates;                     // of the groups, for each update
    long updates, moving, kinds;             // updates to be done, strides, groups
    long done, finite, bad;                  // what came out: bad targets are none of the classes
};

#define EACH(size) for (long i = 0; i < (size); i += LANES)
#define LEFT(size) ((size) - i)

template <int R, int COUNT>
static void tile(const Operation &o, const float *a, const float *b, long step, const float *bias, float *c, long width) {
    Vec sums[R][COUNT];
    UNROLL for (int v = 0; v < COUNT; v++) {
        Vec first = bias ? load(bias + v * LANES, width - v * LANES) : (Vec){};
        UNROLL for (int row = 0; row < R; row++) sums[row][v] = first;
    }
    for (long k = 0; k < o.inner; k++, b += step, a += o.a_inner) {
        Vec weights[COUNT];
        UNROLL for (int v = 0; v < COUNT; v++) weights[v] = *(const Loose *)(b + v * LANES);
        UNROLL for (int row = 0; row < R; row++) {
            Vec one = all(a[row * o.a_row]);
            UNROLL for (int v = 0; v < COUNT; v++) sums[row][v] += one * weights[v];
        }
    }
    for (int row = 0; row < R; row++)
        UNROLL for (int v = 0; v < COUNT; v++) store(c + row * o.columns + v * LANES, sums[row][v], width - v * LANES);
}

template <int COUNT>
static void tiles(const Operation &o, const float *a, const float *b, long step, const float *bias, float *c, long width) {
    long row = 0;
    for (; row + ROWS <= o.rows; row += ROWS)
        tile<ROWS, COUNT>(o, a + row * o.a_row, b, step, bias, c + row * o.columns, width);
    a += row * o.a_row;
    c += row * o.columns;
    switch (o.rows - row) {
        case 1: return tile<1, COUNT>(o, a, b, step, bias, c, width);
        case 2: return tile<2, COUNT>(o, a, b, step, bias, c, width);
        case 3: return tile<3, COUNT>(o, a, b, step, bias, c, width);
        case 4: return tile<4, COUNT>(o, a, b, step, bias, c, width);
        case 5: return tile<5, COUNT>(o, a, b, step, bias, c, width);
    }
}

// Columns of b from the first on, padded with nought: (inner, WIDE).
static void pack(const Operation &o, const float *b, long first, long width, float *panel) {
    for (long k = 0; k < o.inner; k++)
        for (long n = width; n < WIDE; n++) panel[k * WIDE + n] = 0;
    for (long n = 0; n < width; n++) {
        const float *from = o.b_turned ? b + (first + n) * o.b_step : b + first + n;
        long step = o.b_turned ? 1 : o.b_step;
        for (long k = 0; k < o.inner; k++) panel[k * WIDE + n] = from[k * step];
    }
}

static void product(const Operation &o, const float *a, const float *b, const float *bias, float *c, float *panel) {
    for (long first = 0; first < o.columns; first += WIDE) {
        long width = o.columns - first < WIDE ? o.columns - first : WIDE, step = o.b_step;
        const float *right = b + first;
        if (o.b_turned || width < WIDE) {
            pack(o, b, first, width, panel);
            right = panel;
            step = WIDE;
        }
        const float *own = bias ? bias + first : bias;
        if (width > LANES)
            tiles<2>(o, a, right, step, own, c + first, width);
        else
            tiles<1>(o, a, right, step, own, c + first, width);
    }
}

INLINE float sum_of(Vec value) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += value[lane];
    return sum;
}

static float sum(const float *a, long size) {
    Vec found = {};
    EACH(size) found += load(a + i, LEFT(size));
    return sum_of(found);
}

INLINE Vec logarithm(Vec x) { return logarithm_by<Bits>(x); }

// A column of a few rows, of matrices that have few columns: these are worked on by rows side by side.
enum { FEW = 8 };
INLINE Vec column(const float *from, long step, long rows) {
    Vec found = {};
    for (long lane = 0; lane < rows; lane++) found[lane] = from[lane * step];
    return found;
}
INLINE void put(float *to, Vec value, long step, long rows) {
    for (long lane = 0; lane < rows; lane++) to[lane * step] = value[lane];
}
INLINE long rows_at(long row, const Operation &o) { return o.rows - row < LANES ? o.rows - row : LANES; }

static void log_softmax_few(const Operation &o, const float *a, float *c) {
    for (long row = 0; row < o.rows; row += LANES, a += LANES * o.columns, c += LANES * o.columns) {
        long rows = rows_at(row, o);
        Vec x[FEW], most, found = {};
        for (long n = 0; n < o.columns; n++) {
            x[n] = column(a + n, o.columns, rows);
            most = n == 0 ? x[n] : x[n] > most ? x[n] : most;
        }
        for (long n = 0; n < o.columns; n++) found += exponential(x[n] - most);
        Vec all_of = most + logarithm(found);
        for (long n = 0; n < o.columns; n++) put(c + n, x[n] - all_of, o.columns, rows);
    }
}

static void log_softmax_back_few(const Operation &o, const float *gradient, const float *logs, float *c) {
    for (long row = 0; row < o.rows; row += LANES) {
        long rows = rows_at(row, o), at = row * o.columns;
        Vec g[FEW], whole = {};
        for (long n = 0; n < o.columns; n++) whole += g[n] = column(gradient + at + n, o.columns, rows);
        for (long n = 0; n < o.columns; n++) {
            Vec x = column(logs + at + n, o.columns, rows);
            put(c + at + n, g[n] - exponential(x) * whole, o.columns, rows);
        }
    }
}

static void log_softmax(const Operation &o, const float *a, float *c) {
    if (o.columns <= FEW) return log_softmax_few(o, a, c);
    for (long row = 0; row < o.rows; row++, a += o.columns, c += o.columns) {
        float most = a[0];
        for (long n = 1; n < o.columns; n++) most = a[n] > most ? a[n] : most;
        Vec found = {};
        EACH(o.columns) {
            Vec part = exponential(load(a + i, LEFT(o.columns)) - most);
            for (long lane = LEFT(o.columns); lane < LANES; lane++) part[lane] = 0;
            found += part;
        }
        float all_of = most + __builtin_logf(sum_of(found));
        EACH(o.columns) store(c + i, load(a + i, LEFT(o.columns)) - all_of, LEFT(o.columns));
    }
}

static void log_softmax_back(const Operation &o, const float *gradient, const float *logs, float *c) {
    if (o.columns <= FEW) return log_softmax_back_few(o, gradient, logs, c);
    for (long row = 0; row < o.rows; row++, gradient += o.columns, logs += o.columns, c += o.columns) {
        float whole = sum(gradient, o.columns);
        EACH(o.columns) {
            Vec found = load(gradient + i, LEFT(o.columns)) - exponential(load(logs + i, LEFT(o.columns))) * whole;
            store(c + i, found, LEFT(o.columns));
        }
    }
}

// The loss of the logarithms that targets pick, and how many count; whether all targets are classes.
static bool picked(const Operation &o, const float *logs, const long long *targets, float *loss, float *counted) {
    double found = 0;
    long count = 0;
    for (long row = 0; row < o.rows; row++) {
        long long target = targets[row];
        if (target == o.inner) continue;
        if (target < 0 || target >= o.columns) return false;
        found -= logs[row * o.columns + target];
        count++;
    }
    *counted = (float)count;
    *loss = (float)(o.mean ? found / count : found);
    return true;
}

static void picked_back(const Operation &o, float gradient, const long long *targets, const float *counted, float *c) {
    float each = -(o.mean ? gradient / *counted : gradient);
    EACH(o.rows * o.columns) store(c + i, (Vec){}, LEFT(o.rows * o.columns));
    for (long row = 0; row < o.rows; row++)
        if (targets[row] != o.inner) c[row * o.columns + targets[row]] = each;
}

static float squares(const Operation &o, const float *a, const float *b, long size) {
    Vec found = {};
    EACH(size) {
        Vec apart = load(a + i, LEFT(size)) - load(b + i, LEFT(size));
        found += apart * apart;
    }
    return o.mean ? sum_of(found) / size : sum_of(found);
}

// The share of a normal distribution below x: by the error function, to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
INLINE Vec below(Vec x) {
    Vec nought = {}, size = (x < nought ? -x : x) * 0.70710678118654752f;
    Vec t = 1.0f / (1.0f + 0.3275911f * size);
    Vec p = 1.061405429f * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    Vec half = 0.5f * (p * t) * exponential(-(size * size));
    return x < nought ? half : 1.0f - half;
}

#define MAP(value) EACH(size) { Vec x = load(a + i, LEFT(size)); store(c + i, (value), LEFT(size)); } break
#define MAP2(value) \
    EACH(size) { Vec x = load(a + i, LEFT(size)), y = load(b + i, LEFT(size)); store(c + i, (value), LEFT(size)); } break

static bool perform(const Operation &o, void **at, float *panel) {
    const float *a = (const float *)at[o.a], *b = o.b < 0 ? 0 : (const float *)at[o.b];
    float *c = (float *)at[o.c];
    long size = o.rows * o.columns;
    Vec nought = {}, number = all(o.number);
    switch (o.kind) {
        case PRODUCT: product(o, a, b, o.d < 0 ? 0 : (const float *)at[o.d], c, panel); break;
        case RELU: MAP(x < nought ? nought : x);
        case RELU_BACK: MAP2(y <= number ? nought : x);  // of what is no number too
        case TANH: MAP(tanh_of(x));
        case TANH_BACK: MAP2(x * (1.0f - y * y));
        case SIGMOID: MAP(sigmoid(x));
        case SIGMOID_BACK: MAP2(x * ((1.0f - y) * y));
        case SILU: MAP(x * sigmoid(x));
        case SILU_BACK: MAP2(x * sigmoid(y) * (1.0f + y * (1.0f - sigmoid(y))));
        case GELU: MAP(x * below(x));
        case GELU_BACK: MAP2(x * (below(y) + y * 0.39894228040143267f * exponential(y * y * -0.5f)));
        case LEAKY: MAP(x > nought ? x : x * number);
        case LEAKY_BACK: MAP2(y > nought ? x : x * number);
        case MULTIPLY: MAP2(x * y);
        case ADD: MAP2(x + y * number);
        case SUBTRACT: MAP2(x - y * number);
        case ABSOLUTE: MAP(x < nought ? -x : x);
        case SCALE: MAP(x * number);
        case DIVIDE: MAP(x / number);
        case COPY: MAP(x);
        case SUM_ROWS:
            EACH(o.columns) {
                Vec found = {};
                for (long row = 0; row < o.rows; row++) found += load(a + row * o.columns + i, LEFT(o.columns));
                store(c + i, found, LEFT(o.columns));
            }
            break;
        case MEAN_COLUMNS:
            for (long row = 0; row < o.rows; row++) c[row] = sum(a + row * o.columns, o.columns) / o.columns;
            break;
        case SUM: *c = sum(a, size); break;
        case LOG_SOFTMAX: log_softmax(o, a, c); break;
        case LOG_SOFTMAX_BACK: log_softmax_back(o, a, b, c); break;
        case PICKED: return picked(o, a, (const long long *)at[o.b], c, (float *)at[o.d]);
        case PICKED_BACK: picked_back(o, *a, (const long long *)at[o.b], (const float *)at[o.d], c); break;
        case SQUARES: *c = squares(o, a, b, size); break;
        case SQUARES_BACK: {
            Vec each = all((o.mean ? 2.0f / size : 2.0f) * *(const float *)at[o.d]);
            MAP2((x - y) * each);
        }
    }
    return true;
}

INLINE Vec root(Vec x) {
    Vec found;
    UNROLL for (int lane = 0; lane < LANES; lane++) found[lane] = __builtin_sqrtf(x[lane]);
    return found;
}

// As torch.optim's fused kernels.
static void adam(const Moved &m, const Group &g, void **at, float scale, float step) {
    float *weight = (float *)at[m.weight], *first = (float *)at[m.first], *second = (float *)at[m.second];
    const float *gradient = (const float *)at[m.gradient];
    const float shrink = g.kind == 2 ? 1 - g.rate * g.decay : 1, decay = g.kind == 2 ? 0 : g.decay;
    const float size = g.rate / (1 - __builtin_pow(g.beta1, step)), epsilon = g.epsilon, keep = g.beta2;
    const float spread = __builtin_sqrt(1 - __builtin_pow(g.beta2, step)), more = 1 - g.beta1, much = 1 - g.beta2;
    EACH(m.size) {
        Vec w = load(weight + i, LEFT(m.size)) * shrink;
        Vec d = load(gradient + i, LEFT(m.size)) * scale + w * decay;
        Vec mean = load(first + i, LEFT(m.size)), square = load(second + i, LEFT(m.size));
        mean += (d - mean) * more;
        square = square * keep + d * d * much;
        store(first + i, mean, LEFT(m.size));
        store(second + i, square, LEFT(m.size));
        store(weight + i, w - size * (mean / (root(square) / spread + epsilon)), LEFT(m.size));
    }
}

static void sgd(const Moved &m, const Group &g, void **at, float scale) {
    float *weight = (float *)at[m.weight], *held = m.first < 0 ? 0 : (float *)at[m.first];
    const float *gradient = (const float *)at[m.gradient];
    const float decay = g.decay, momentum = g.momentum, more = 1 - g.dampening, rate = g.rate;
    EACH(m.size) {
        Vec w = load(weight + i, LEFT(m.size)), d = load(gradient + i, LEFT(m.size)) * scale + w * decay;
        if (held) {
            Vec buffer = load(held + i, LEFT(m.size)) * momentum + d * more;
            store(held + i, buffer, LEFT(m.size));
            d = g.nesterov ? d + buffer * momentum : buffer;
        }
        store(weight + i, w - d * rate, LEFT(m.size));
    }
}

// Nought times a number is nought, times what is none it is none.
static bool finite(const Update &u) {
    float loss = *(const float *)u.at[u.loss] * 0.0f;
    Vec found = {};
    for (long one = 0; one < u.parameters; one++) {
        const float *gradient = (const float *)u.at[u.moved[one].gradient];
        EACH(u.moved[one].size) found += load(gradient + i, LEFT(u.moved[one].size)) * 0.0f;
    }
    return loss + sum_of(found) == 0.0f;
}

static float clipping(const Update &u) {
    double squares = 0;
    for (long one = 0; one < u.parameters; one++) {
        const float *gradient = (const float *)u.at[u.moved[one].gradient];
        Vec found = {};
        EACH(u.moved[one].size) {
            Vec part = load(gradient + i, LEFT(u.moved[one].size));
            found += part * part;
        }
        squares += sum_of(found);
    }
    double scale = u.most / (__builtin_sqrt(squares) + 1e-6);
    return scale < 1 ? scale : 1;
}

extern "C" long dense_wide() { return WIDE; }

// Forward, backward, and what the optimizer does; nothing is moved where a number is not finite, or a target no class.
static bool update(Update &u) {
    for (long one = 0; one < u.many; one++)
        if (!perform(u.operations[one], u.at, u.panel)) {
            u.bad = 1;
            return false;
        }
    u.finite = finite(u);
    if (u.check && !u.finite) return false;
    float scale = u.most > 0 ? clipping(u) : 1;
    for (long one = 0; one < u.parameters; one++) {
        const Moved &m = u.moved[one];
        const Group &g = u.groups[m.group];
        if (g.kind)
            adam(m, g, u.at, scale, *(float *)u.at[m.step] += 1);
        else
            sgd(m, g, u.at, scale);
    }
    return true;
}

// One update after the other, to the first that moves nothing.
extern "C" void dense_updates(Update *u) {
    u->bad = 0;
    for (u->done = 0; u->done < u->updates; u->done++) {
        for (long kind = 0; kind < u->kinds; kind++) u->groups[kind].rate = u->rates[u->done * u->kinds + kind];
        if (!update(*u)) return;
        for (long one = 0; one < u->moving; one++) {
            void **place = u->at + u->strides[one].place;
            *place = (char *)*place + u->strides[one].bytes;
        }
    }
}
