/* fuzz.h - a fuzz target is LLVMFuzzerTestOneInput; without QDISP_FUZZER it becomes a program that replays files. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(int condition) {
    if (!condition) abort();
}

/* The input as a file, for parsers that open paths: always the same name, so that nothing piles up. */
static inline const char *fuzz_file(const uint8_t *data, size_t size) {
    static char path[64];
    snprintf(path, sizeof path, "/tmp/qdisp-fuzz-%ld", (long)getpid());
    FILE *f = fopen(path, "wb");
    require(f != NULL);
    require(fwrite(data, 1, size, f) == size);
    require(fclose(f) == 0);
    return path;
}

#ifndef QDISP_FUZZER
#define MAX_REPLAY ((size_t)16 << 20)
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        uint8_t *data = malloc(MAX_REPLAY);
        if (!f || !data) {
            perror(argv[i]);
            return 1;
        }
        size_t size = fread(data, 1, MAX_REPLAY, f);
        uint8_t *exact = malloc(size + 1); /* its own block, so that a sanitizer sees a read past the end */
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
        free(data);
        fclose(f);
    }
    printf("%d files replayed\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
#endif

#endif
