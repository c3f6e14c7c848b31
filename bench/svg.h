/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Plots as SVG text inside a page: frames with axes, bars and lines. Sizes are in pixels of the
 * plot; the page scales it.
 */
#ifndef PMKV_BENCH_SVG_H
#define PMKV_BENCH_SVG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct svg_axis {
    double low, high;
    bool logarithmic;
    const char *label;
};

struct svg_frame {
    FILE *out;
    double left, top, width, height; /* of the inside */
    struct svg_axis x, y;
};

/* Numbers as people read them: 1.5k, 230, 0.02, 3.1M. */
const char *svg_number(double value, char out[24]);
/* Nanoseconds with a unit. */
const char *svg_time(double ns, char out[24]);
/* Text with the characters that a page may not have replaced. */
void svg_text(FILE *out, const char *text);

/* Colour of an engine; the same in every plot. */
const char *svg_colour(const char *engine);

struct svg_bar {
    const char *label, *colour;
    double value, low, high; /* low..high: the spread; equal: none drawn */
};
/* Horizontal bars with their values; `none` is the text when value < 0. */
void svg_bars(FILE *out, const char *title, const struct svg_bar *bars, size_t count,
              const char *none);

/* A frame with grid, labels and title; end it with svg_end. Times on the x axis when time_x. */
void svg_begin(struct svg_frame *f, const char *title, bool time_x, bool share_y);
double svg_x(const struct svg_frame *f, double x);
double svg_y(const struct svg_frame *f, double y);
/* A line through the points, in order. */
void svg_line(const struct svg_frame *f, const double (*points)[2], size_t count,
              const char *colour, bool dots);
/* A vertical mark. */
void svg_mark(const struct svg_frame *f, double x);
void svg_end(const struct svg_frame *f);

#endif
