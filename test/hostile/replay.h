/* replay.h - broken files of one kind, replayed. Before it is included: FOLDER (with expected.txt: file, status, part
 * of the message), GOOD (a file that reads), ctx, and open_it(path), which opens a file and checks what comes of it. */
#ifndef REPLAY_H
#define REPLAY_H

#include <unistd.h>

TEST(every_file_gives_its_status_and_reason) {
    char line[512], file[128], status[32], path[1024];
    FILE *f = fopen(FOLDER "expected.txt", "r");
    int n_files = 0;
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        int used = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%127s %31s %n", file, status, &used) < 2) continue;
        snprintf(path, sizeof path, "%s%s", FOLDER, file);
        qdisp_status got = open_it(path);
        if (strcmp(qdisp_status_name(got) + 6, status)) {
            printf("%s gave %s, expected %s\n", file, qdisp_status_name(got), status);
            CHECK(!"status");
        } else if (got != QDISP_OK) {
            CHECK_HAS(qdisp_ctx_error(ctx), file);
            CHECK_HAS(qdisp_ctx_error(ctx), line + used);
        }
        n_files++;
    }
    if (f) fclose(f);
    CHECK(n_files > 15);
}

/* A good file cut short at every length, and with every byte changed: refused or read, never harm. */
TEST(every_cut_and_every_changed_byte_is_survived) {
    char good[1024], path[] = "/tmp/qdisp-hostile-XXXXXX", data[8192];
    snprintf(good, sizeof good, "%s", GOOD);
    FILE *f = fopen(good, "rb");
    size_t n = f ? fread(data, 1, sizeof data, f) : 0;
    if (f) fclose(f);
    CHECK(n > 0 && n < sizeof data);
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    for (size_t i = 0; i < 3 * n; i++) {
        size_t at = i % n, n_write = i < n ? i : n;
        char kept = data[at];
        if (i >= n) data[at] = (char)(i < 2 * n ? kept ^ 0x80 : kept + 1);
        CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, n_write, 0) == (ssize_t)n_write);
        data[at] = kept;
        qdisp_status got = open_it(path);
        CHECK(got == QDISP_OK || strstr(qdisp_ctx_error(ctx), "qdisp-hostile-"));
    }
    close(fd);
    unlink(path);
}

#define REPLAY_MAIN()                                                \
    int main(void) {                                                 \
        if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;         \
        RUN(every_file_gives_its_status_and_reason);                 \
        RUN(every_cut_and_every_changed_byte_is_survived);           \
        qdisp_ctx_free(ctx);                                         \
        return TEST_END();                                           \
    }

#endif
