/* test_hostile_files.c - broken files of one kind, named by the first argument: a folder beside this file with
 * expected.txt (file, status, part of the message), written by the script named make*.py for it. */
#include "harness.h"

#include "open_files.h"


static const struct kind {
    const char *folder, *good; /* a file that reads */
    qdisp_status (*open)(qdisp_ctx *ctx, const char *path);
    bool from_table; /* messages name rows of a table, which does not know its file */
} kinds[] = {
    {"calib", "good.safetensors", open_calib},
    {"gguf", "good.gguf", open_tensors},
    {"gguf_model", "good.gguf", open_model},
    {"gguf_vocab", "good.gguf", open_tokenizer},
    {"imatrix", "good.gguf", open_imatrix},
    {"imatrix_dat", "good.dat", open_imatrix},
    {"plan", "good.csv", open_plan, true},
    {"quantized", "good.bin", open_split},
    {"sentencepiece", "good.model", open_tokenizer},
    {"table", "good.csv", open_table},
    {"tiktoken", "good.tiktoken", open_tiktoken},
    {"torch", "good.bin", open_tensors},
};

static qdisp_ctx *ctx;
static const struct kind *kind;

static void path_to(const char *file, char path[1024]) {
    snprintf(path, 1024, "%s/test/hostile/%s/%s", QDISP_ROOT, kind->folder, file);
}

TEST(every_file_gives_its_status_and_reason) {
    char line[512], file[128], status[32], path[1024];
    int n_files = 0;
    path_to("expected.txt", path);
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    while (f && fgets(line, sizeof line, f)) {
        int used = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%127s %31s %n", file, status, &used) < 2) continue;
        path_to(file, path);
        qdisp_status got = kind->open(ctx, path);
        if (strcmp(qdisp_status_name(got) + 6, status)) {
            printf("%s gave %s, expected %s: %s\n", file, qdisp_status_name(got), status, qdisp_ctx_error(ctx));
            CHECK(!"status");
        } else if (got != QDISP_OK) {
            CHECK(kind->from_table || strstr(qdisp_ctx_error(ctx), file));
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
    path_to(kind->good, good);
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
        qdisp_status got = kind->open(ctx, path);
        CHECK(got == QDISP_OK || kind->from_table || strstr(qdisp_ctx_error(ctx), "qdisp-hostile-"));
    }
    close(fd);
    unlink(path);
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(kinds[i].folder, argv[1])) kind = &kinds[i];
    }
    if (!kind || qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;
    RUN(every_file_gives_its_status_and_reason);
    RUN(every_cut_and_every_changed_byte_is_survived);
    qdisp_ctx_free(ctx);
    return TEST_END();
}
