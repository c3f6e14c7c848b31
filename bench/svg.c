/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "svg.h"

#include <math.h>
#include <string.h>

enum {
    BARS_WIDTH = 340,
    BAR_HEIGHT = 18,
    BAR_LABEL = 78,
    BAR_VALUE = 56,
    FRAME_WIDTH = 340,
    FRAME_HEIGHT = 230,
    FRAME_LEFT = 46,
    FRAME_TOP = 28,
    FRAME_RIGHT = 24,
    FRAME_BOTTOM = 38
};

const char *svg_number(double value, char out[24])
{
    double size = fabs(value);
    const char *unit = size >= 1e6 ? "M" : size >= 1e4 ? "k" : "";
    double by = size >= 1e6 ? 1e6 : size >= 1e4 ? 1e3 : 1;
    double shown = value / by;
    int decimals = shown >= 99.95 || shown == floor(shown) ? 0 : shown >= 9.995 ? 1 : 2;
    snprintf(out, 24, "%.*f%s", decimals, shown, unit);
    return out;
}

const char *svg_time(double ns, char out[24])
{
    const char *unit = ns >= 1e9 ? "s" : ns >= 1e6 ? "ms" : ns >= 1e3 ? "µs" : "ns";
    double shown = ns / (ns >= 1e9 ? 1e9 : ns >= 1e6 ? 1e6 : ns >= 1e3 ? 1e3 : 1);
    snprintf(out, 24, "%.*f %s", shown >= 10 || shown == floor(shown) ? 0 : 1, shown, unit);
    return out;
}

void svg_text(FILE *out, const char *text)
{
    for (; *text; text++)
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else
            fputc(*text, out);
}

const char *svg_colour(const char *engine)
{
    static const char *const colours[][2] = {
        {"pmkv", "#0b6e4f"},    {"pmkv-ordered", "#6fb98f"}, {"lmdb", "#c8553d"},
        {"rocksdb", "#3d5a98"}, {"leveldb", "#8e6bbf"},      {"tkrzw", "#c99a1b"},
        {"sqlite", "#6c757d"},  {"pmemobj", "#4ba3c3"},      {"limit", "#9aa0a6"}};
    for (size_t i = 0; i < sizeof colours / sizeof *colours; i++)
        if (strcmp(colours[i][0], engine) == 0)
            return colours[i][1];
    return "#444444";
}

/* --- bars ------------------------------------------------------------------------------------- */

static void draw_bar(FILE *out, const struct svg_bar *bar, double y, double scale)
{
    char number[24];
    double end = BAR_LABEL + bar->value * scale, middle = y + BAR_HEIGHT / 2.0 - 1;
    fprintf(out, "<rect x='%d' y='%.1f' width='%.1f' height='%d' rx='2' fill='%s'/>", BAR_LABEL, y,
            bar->value * scale, BAR_HEIGHT - 5, bar->colour);
    if (bar->high > bar->low)
        fprintf(out, "<path class='spread' d='M%.1f %.1fH%.1f'/>", BAR_LABEL + bar->low * scale,
                middle - 1, BAR_LABEL + bar->high * scale);
    double beyond = bar->high > bar->value ? BAR_LABEL + bar->high * scale : end;
    fprintf(out, "<text x='%.1f' y='%.1f'>%s</text>", beyond + 5, middle + 3,
            svg_number(bar->value, number));
}

void svg_bars(FILE *out, const char *title, const struct svg_bar *bars, size_t count,
              const char *none)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fmax(bars[i].value, bars[i].high));
    double scale = most > 0 ? (BARS_WIDTH - BAR_LABEL - BAR_VALUE) / most : 0;
    double height = 30 + (double)count * BAR_HEIGHT;
    fprintf(out, "<svg viewBox='0 0 %d %.0f'><text class='title' x='0' y='14'>", BARS_WIDTH,
            height);
    svg_text(out, title);
    fputs("</text>", out);
    for (size_t i = 0; i < count; i++) {
        double y = 26 + (double)i * BAR_HEIGHT;
        fprintf(out, "<text class='name' x='%d' y='%.1f'>", BAR_LABEL - 6, y + 11);
        svg_text(out, bars[i].label);
        fputs("</text>", out);
        if (bars[i].value >= 0)
            draw_bar(out, &bars[i], y, scale);
        else
            fprintf(out, "<text class='none' x='%d' y='%.1f'>%s</text>", BAR_LABEL, y + 11, none);
    }
    fputs("</svg>\n", out);
}

/* --- frames ----------------------------------------------------------------------------------- */

static double along(const struct svg_axis *axis, double value)
{
    if (axis->logarithmic)
        return log(value / axis->low) / log(axis->high / axis->low);
    return (value - axis->low) / (axis->high - axis->low);
}

double svg_x(const struct svg_frame *f, double x)
{
    return f->left + f->width * along(&f->x, x);
}

double svg_y(const struct svg_frame *f, double y)
{
    return f->top + f->height * (1 - along(&f->y, y));
}

/* 1, 2 or 5 times a power of ten, so that four or five steps fill the axis. */
static double step_of(double range)
{
    if (range <= 4 && range == floor(range)) /* threads are whole */
        return 1;
    double power = pow(10, floor(log10(range / 4)));
    double times = range / 4 / power;
    return power * (times >= 5 ? 5 : times >= 2 ? 2 : 1);
}

static void tick_x(const struct svg_frame *f, double value, bool time_x)
{
    char text[24];
    fprintf(f->out,
            "<path class='grid' d='M%.1f %.1fv%.1f'/><text class='x' x='%.1f' y='%.1f'>%s"
            "</text>",
            svg_x(f, value), f->top, f->height, svg_x(f, value), f->top + f->height + 13,
            time_x ? svg_time(value, text) : svg_number(value, text));
}

static void tick_y(const struct svg_frame *f, double value, bool share_y)
{
    char text[24];
    if (share_y) /* of operations that are slower: said as a percentile */
        snprintf(text, sizeof text, "%.10g", 100 - 100 * value);
    else
        svg_number(value, text);
    fprintf(f->out,
            "<path class='grid' d='M%.1f %.1fh%.1f'/><text class='name' x='%.1f' y='%.1f'>%s"
            "</text>",
            f->left, svg_y(f, value), f->width, f->left - 5, svg_y(f, value) + 3.5, text);
}

static void ticks(const struct svg_frame *f, const struct svg_axis *axis,
                  void (*tick)(const struct svg_frame *, double, bool), bool flag)
{
    if (axis->logarithmic) {
        double times = axis->high > axis->low ? 10 : 0.1; /* shares of slower ones go down */
        double first = log10(axis->low);
        first = times > 1 ? ceil(first - 1e-9) : floor(first + 1e-9);
        for (double at = pow(10, first); along(axis, at) <= 1.0001; at *= times)
            tick(f, at, flag);
        return;
    }
    double step = step_of(axis->high - axis->low);
    for (double at = ceil(axis->low / step) * step; at <= axis->high + step / 1000; at += step)
        tick(f, fabs(at) < step / 1000 ? 0 : at, flag);
}

void svg_begin(struct svg_frame *f, const char *title, bool time_x, bool share_y)
{
    f->left = FRAME_LEFT;
    f->top = FRAME_TOP;
    f->width = FRAME_WIDTH - FRAME_LEFT - FRAME_RIGHT;
    f->height = FRAME_HEIGHT - FRAME_TOP - FRAME_BOTTOM;
    fprintf(f->out, "<svg viewBox='0 0 %d %d'><text class='title' x='0' y='14'>", FRAME_WIDTH,
            FRAME_HEIGHT);
    svg_text(f->out, title);
    fputs("</text>", f->out);
    ticks(f, &f->x, tick_x, time_x);
    ticks(f, &f->y, tick_y, share_y);
    fprintf(f->out, "<text class='x' x='%.1f' y='%d'>%s</text>", f->left + f->width / 2,
            FRAME_HEIGHT - 6, f->x.label);
}

void svg_line(const struct svg_frame *f, const double (*points)[2], size_t count,
              const char *colour, bool dots)
{
    fprintf(f->out, "<path class='line' stroke='%s' d='", colour);
    for (size_t i = 0; i < count; i++)
        fprintf(f->out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', svg_x(f, points[i][0]),
                svg_y(f, points[i][1]));
    fputs("'/>", f->out);
    for (size_t i = 0; dots && i < count; i++)
        fprintf(f->out, "<circle cx='%.1f' cy='%.1f' r='2.5' fill='%s'/>", svg_x(f, points[i][0]),
                svg_y(f, points[i][1]), colour);
}

void svg_mark(const struct svg_frame *f, double x)
{
    fprintf(f->out, "<path class='mark' d='M%.1f %.1fv6'/>", svg_x(f, x), f->top - 6);
    fprintf(f->out, "<path class='fault' d='M%.1f %.1fv%.1f'/>", svg_x(f, x), f->top, f->height);
}

void svg_end(const struct svg_frame *f)
{
    fputs("</svg>\n", f->out);
}
