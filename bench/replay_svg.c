/* SPDX-License-Identifier: MIT */
#include "bench/replay_svg.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 760, HEIGHT = 470, LEFT = 60, RIGHT = 590, TOP = 50, BOTTOM = 410, LABEL_STEP = 18 };

/* Told apart in grey and by the colour-blind: the last is the bound, drawn dashed in black. */
static const char *const colours[] = { "#0072b2", "#999999", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#000000" };
#define N_COLOURS (sizeof(colours) / sizeof(colours[0]))

static double x_of(double share)
{
    return LEFT + share / 0.5 * (RIGHT - LEFT);
}

static double y_of(double percent)
{
    return BOTTOM - percent / 100 * (BOTTOM - TOP);
}

static void axes_draw(FILE *out)
{
    for (int percent = 0; percent <= 100; percent += 20)
        fprintf(out,
                "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%d %%</text>\n",
                LEFT, RIGHT, y_of(percent), y_of(percent), LEFT - 8, y_of(percent) + 4, percent);
    for (int share = 0; share <= 50; share += 10)
        fprintf(out,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#333\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d %%</text>\n",
                x_of(share / 100.0), x_of(share / 100.0), BOTTOM, BOTTOM + 5, x_of(share / 100.0), BOTTOM + 20, share);
    fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" stroke=\"#333\"/>\n", LEFT, RIGHT, BOTTOM, BOTTOM);
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">experts that fit in memory</text>\n",
            (LEFT + RIGHT) / 2, BOTTOM + 42);
}

static void curve_draw(FILE *out, const struct replay_curve *curve, const char *colour, bool bound, double label_y,
                       const double *shares, size_t n)
{
    fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"", colour,
            bound ? " stroke-dasharray=\"6 4\"" : "");
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%.1f,%.1f ", x_of(shares[i]), y_of(curve->percent[i]));
    fprintf(out, "\"/>\n");
    fprintf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"2\"%s/>", RIGHT + 16,
            RIGHT + 44, label_y - 4, label_y - 4, colour, bound ? " stroke-dasharray=\"6 4\"" : "");
    fprintf(out, "<text x=\"%d\" y=\"%.1f\">%s</text>\n", RIGHT + 52, label_y, curve->name);
}

static void text_write(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '&' || *text == '<')
            fprintf(out, "&#%d;", *text);
        else
            fputc(*text, out);
}

int replay_svg_write(const char *path, const char *title, const double *shares, size_t n_shares,
                     const struct replay_curve *curves, size_t n_curves, struct err *err)
{
    const char *name = strrchr(title, '/') != NULL ? strrchr(title, '/') + 1 : title;
    FILE *out = fopen(path, "we");

    if (out == NULL)
        return err_sys(err, errno, "'%s'", path);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
            "<text x=\"%d\" y=\"28\" font-size=\"16\">expert hits while answering: ",
            WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
    text_write(out, name);
    fprintf(out, "</text>\n");
    axes_draw(out);
    for (size_t i = 0; i < n_curves; i++)
        curve_draw(out, &curves[i], colours[i % N_COLOURS], i + 1 == n_curves, TOP + 20 + LABEL_STEP * (double)i,
                   shares, n_shares);
    fprintf(out, "</svg>\n");
    if (ferror(out) != 0 || fclose(out) != 0)
        return err_sys(err, errno, "'%s'", path);
    return 0;
}
