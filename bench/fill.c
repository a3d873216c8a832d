/* A bare event-driven max-min fill: what the machine can do, to set the share kernel's time beside.

   One tier, weights of one, one minimum for all, floating point, whole steps and no crumbs after.
   Memory is the caller's; the order of maxima is sorted anew in each call. */

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

typedef struct {
    int32_t n_chargers, n_limits;
    const int32_t *first_limit;     /* per charger, and one more: its part of limits */
    const int32_t *limits;
    const int32_t *first_charger;   /* per limit, and one more: its part of chargers */
    const int32_t *chargers;
    const double *most, *cap;
    double least, step;
    double *x;                      /* result */
    int32_t *order, *heap, *rising; /* work: rising per charger */
    double *slack, *slope, *level;  /* work: per limit */
} site_t;

static const double *sort_by;

static int compare(const void *a, const void *b)
{
    double left = sort_by[*(const int32_t *)a], right = sort_by[*(const int32_t *)b];
    return (left > right) - (left < right);
}

static void sink(site_t *s, int32_t place, int32_t n)
{
    int32_t limit = s->heap[place], below;
    while ((below = 2 * place + 1) < n) {
        if (below + 1 < n && s->level[s->heap[below + 1]] < s->level[s->heap[below]])
            below++;
        if (s->level[s->heap[below]] >= s->level[limit])
            break;
        s->heap[place] = s->heap[below];
        place = below;
    }
    s->heap[place] = limit;
}

static void freeze(site_t *s, int32_t i, double at)
{
    s->rising[i] = 0;
    s->x[i] = at;
    for (int32_t k = s->first_limit[i]; k < s->first_limit[i + 1]; k++) {
        s->slack[s->limits[k]] -= at;
        s->slope[s->limits[k]] -= 1;
    }
}

static int32_t begin(site_t *s)
{
    int32_t n = 0;
    for (int32_t c = 0; c < s->n_limits; c++) {
        s->slack[c] = s->cap[c];
        s->slope[c] = s->first_charger[c + 1] - s->first_charger[c];
        s->level[c] = s->slope[c] > 0 ? s->slack[c] / s->slope[c] : 0;
        if (s->slope[c] > 0)
            s->heap[n++] = c;
    }
    for (int32_t k = n / 2 - 1; k >= 0; k--)
        sink(s, k, n);
    for (int32_t i = 0; i < s->n_chargers; i++) {
        s->rising[i] = 1;
        s->order[i] = i;
    }
    sort_by = s->most;
    qsort(s->order, s->n_chargers, sizeof(int32_t), compare);
    return n;
}

static void fill(site_t *s)
{
    int32_t n = begin(s), next = 0;
    while (next < s->n_chargers) {
        int32_t i = s->order[next], c = n > 0 ? s->heap[0] : -1;
        if (!s->rising[i]) {
            next++;
        } else if (c < 0 || s->most[i] <= s->level[c]) {
            freeze(s, i, s->most[i]);
        } else if (s->slope[c] == 0) {
            s->heap[0] = s->heap[--n];
            sink(s, 0, n);
        } else if (s->slack[c] / s->slope[c] > s->level[c]) {
            s->level[c] = s->slack[c] / s->slope[c];    /* others were frozen: it rises */
            sink(s, 0, n);
        } else {
            double at = s->level[c] > s->least ? s->level[c] : s->least;
            for (int32_t k = s->first_charger[c]; k < s->first_charger[c + 1]; k++)
                if (s->rising[s->chargers[k]])
                    freeze(s, s->chargers[k], at);
        }
    }
    for (int32_t i = 0; i < s->n_chargers; i++)
        s->x[i] = (double)(int64_t)(s->x[i] / s->step + 1e-6) * s->step;
}

void fill_times(site_t *s, int32_t n_calls, int64_t *spans_ns)
{
    struct timespec from, to;
    for (int32_t k = 0; k < n_calls; k++) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        fill(s);
        clock_gettime(CLOCK_MONOTONIC, &to);
        spans_ns[k] = (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec;
    }
}
