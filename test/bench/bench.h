/* bench.h - a row of the table of measurements, and how it is timed. Measures, asserts nothing. */
#ifndef BENCH_H
#define BENCH_H

#include "kernels/kernels.h"

enum { BENCH_MAX_THREADS = 64 };

typedef enum bench_scale { BENCH_TINY, BENCH_QUICK, BENCH_FULL } bench_scale;

typedef struct bench_options {
    bench_scale scale;
    int csv;
    size_t n_passes;     /* 0: as many as make a good time; else exactly so many, for counting instructions */
    const char *isa;     /* kernels: this instruction set alone; jobs: the cap of the context; NULL: all, the best */
    unsigned threads[8]; /* [n_threads] numbers of threads of the jobs */
    size_t n_threads;
    const char *folder;  /* where the synthetic model's file goes */
    const char *model;   /* a model for the evaluation; NULL: a synthetic one */
    const char *text;    /* a file of text for it and for tokenizers; NULL: the embedded text */
    const char *tokenizers; /* a folder of tokenizers; NULL: the embedded one alone */
    char **names;        /* [n_names] patterns of cases; none: all */
    size_t n_names;
} bench_options;

/* A row but for its times. The rate is n a pass, in the unit's own scale: its first letter G, M or k; the unit "s"
 * means the seconds of a pass. */
typedef struct bench_row {
    const char *name, *by; /* the case; the instruction set or program that did it */
    unsigned threads;
    double n;
    const char *unit;
    double bytes;         /* read and written a pass, 0: does not matter */
    const char *limit;    /* what bounds it: "read", "file", "ops"; NULL: nothing that is measured here */
    double limit_seconds; /* what a pass would take at that limit */
    char note[160];
} bench_row;

typedef struct bench_times {
    double best, median, worst; /* seconds of a pass */
} bench_times;

/* One pass; non-zero: it failed, and the row says so. */
typedef int (*bench_pass)(void *arg);

/* Times a pass: 11 repetitions (3 if quick) or as many as 10 s hold; passes under a millisecond are repeated inside
 * one. One pass goes before as a warm-up, unless it takes more than 6 s: then it is the measurement. */
int bench_measure(const bench_options *o, bench_pass pass, void *arg, bench_times *times);
void bench_print(const bench_options *o, const bench_row *row, const bench_times *times);
/* A row that could not be measured. */
void bench_skip(const bench_options *o, const bench_row *row, const char *why);
int bench_selected(const bench_options *o, const char *name);

/* Confines this thread, and those that it starts, to the first n of the processors that the process was started on. */
void bench_confine(unsigned n);
/* n floats of a bell curve with sigma 0.02, one in a thousand of them ten times as large, as weights are; 64-byte
 * aligned, huge pages where the system gives them. zeros: nothing in them. NULL: no memory. */
float *bench_weights(size_t n);
void *bench_zeros(size_t n_bytes);

/* The machine's own limits (bench_limits.c). Printed as rows when first asked for, kept for later rows; 0 when passes
 * are counted and not timed. */
/* GB/s of a bare read of data[n_bytes], by threads, each pinned to a processor of its own. */
double bench_read_limit(const bench_options *o, const void *data, size_t n_bytes, unsigned threads);
/* f32 operations a second of one thread: independent multiplies and adds, half and half. */
double bench_ops_limit(const bench_options *o, const char *isa);
/* Fused multiply-adds a second of one thread; 0 where there is no way to tell. */
double bench_products_limit(const bench_options *o, const char *isa);
/* GB/s of pread of a file that is in memory, in blocks of 1 MiB. 0: it could not be read. */
double bench_file_limit(const bench_options *o, const char *path, unsigned threads);

/* A file's bytes, to be freed; NULL: none. */
char *bench_read(const char *path, size_t *n);

/* The parts of the table; and their names, one a line. */
void bench_kernels(const bench_options *o);
void bench_blocks(const bench_options *o);
void bench_tokenizers(const bench_options *o);
void bench_jobs(const bench_options *o);
void bench_list_kernels(void);
void bench_list_blocks(void);
void bench_list_tokenizers(void);
void bench_list_jobs(void);
/* The peak of resident memory of a job on o->model, in kB, printed: run in a process of its own. */
int bench_memory(const bench_options *o, const char *name);

#endif
