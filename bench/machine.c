/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

static void read_first_line(const char *path, char *out, size_t out_bytes)
{
    out[0] = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (!fgets(out, (int)out_bytes, f))
        out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    fclose(f);
}

static void read_cpu_model(char *out, size_t out_bytes)
{
    char line[512];
    out[0] = 0;
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, out_bytes, "%s", colon + 2);
        break;
    }
    fclose(f);
}

void machine_describe(struct machine *m)
{
    memset(m, 0, sizeof *m);
    struct utsname u;
    if (uname(&u) == 0) {
        snprintf(m->host, sizeof m->host, "%.64s", u.nodename);
        snprintf(m->kernel, sizeof m->kernel, "%.64s %.60s", u.sysname, u.release);
    }
    read_cpu_model(m->cpu, sizeof m->cpu);
    read_first_line("/sys/kernel/mm/transparent_hugepage/enabled", m->huge_pages,
                    sizeof m->huge_pages);
    read_first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", m->shmem_huge_pages,
                    sizeof m->shmem_huge_pages);
    m->cpu_count = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    m->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The number after `name` at the start of a line; UINT64_MAX when there is none. */
static uint64_t read_field(const char *path, const char *name)
{
    char line[256];
    unsigned long long value = UINT64_MAX;
    FILE *f = fopen(path, "re");
    if (!f)
        return value;
    while (value == UINT64_MAX && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0 &&
            sscanf(line + strlen(name), "%llu", &value) != 1)
            value = UINT64_MAX;
    fclose(f);
    return value;
}

uint64_t machine_written_bytes(void)
{
    return read_field("/proc/self/io", "wchar:");
}

uint64_t machine_own_memory_bytes(void)
{
    uint64_t kib = read_field("/proc/self/status", "RssAnon:");
    return kib == UINT64_MAX ? kib : kib * 1024;
}

void machine_sample(struct machine_sample *s)
{
    char line[256];
    unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
    memset(s, 0, sizeof *s);
    read_first_line("/proc/loadavg", line, sizeof line);
    if (sscanf(line, "%lf", &s->load1) != 1)
        s->load1 = -1;
    read_first_line("/proc/stat", line, sizeof line);
    if (sscanf(line, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
               &iowait, &irq, &softirq, &steal) == 8) {
        s->busy_ticks = user + nice + system + irq + softirq;
        s->steal_ticks = steal;
        s->all_ticks = s->busy_ticks + steal + idle + iowait;
    }
    s->own_cpu_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

struct machine_noise machine_noise(const struct machine_sample *from,
                                   const struct machine_sample *to)
{
    struct machine_noise noise = {.load1 = to->load1,
                                  .own_cpu_ns = to->own_cpu_ns - from->own_cpu_ns};
    double all = (double)(to->all_ticks - from->all_ticks);
    if (all <= 0)
        return noise;
    double own = (double)noise.own_cpu_ns / 1e9 * (double)sysconf(_SC_CLK_TCK);
    double other = (double)(to->busy_ticks - from->busy_ticks) - own;
    noise.steal_percent = 100.0 * (double)(to->steal_ticks - from->steal_ticks) / all;
    noise.other_percent = other > 0 ? 100.0 * other / all : 0;
    return noise;
}
