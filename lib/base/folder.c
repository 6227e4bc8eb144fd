/* folder.c - folders out, whole or not at all. */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct qd_folder {
    qdisp_ctx *ctx;
    char *path, *partial;
    char **files; /* [n_files]: cleaning up must not need memory */
    size_t n_files, cap_files;
    bool made;
};

static bool is_used(const char *path) {
    struct stat info;
    if (lstat(path, &info) != 0) return false;
    DIR *dir = S_ISDIR(info.st_mode) ? opendir(path) : NULL;
    if (!dir) return true;
    size_t n = 0;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(dir);
    return n != 0;
}

qdisp_status qd_folder_check(qdisp_ctx *ctx, const char *path) {
    return is_used(path) ? qd_fail(ctx, QDISP_EINVAL, "%s: exists and is no empty folder", path) : QDISP_OK;
}

static qdisp_status make_partial(qd_folder *f) {
    for (size_t n = strlen(f->path); n > 1 && f->path[n - 1] == '/'; n--) f->path[n - 1] = 0;
    QD_TRY(qd_folder_check(f->ctx, f->path));
    if (!(f->partial = qd_format(f->ctx, "%s.partial", f->path))) return QDISP_ENOMEM;
    if (mkdir(f->partial, 0777) != 0) {
        if (errno != EEXIST) return qd_fail_errno(f->ctx, f->partial, errno);
        return qd_fail(f->ctx, QDISP_EINVAL, "%s: there already, of a run that goes on or was killed: if it was "
                       "killed, remove the folder", f->partial);
    }
    f->made = true;
    return QDISP_OK;
}

qdisp_status qd_folder_open(qdisp_ctx *ctx, const char *path, qd_folder **out) {
    qd_folder *f = qd_alloc(ctx, 1, sizeof *f);
    if (!f) return QDISP_ENOMEM;
    f->ctx = qd_ctx_ref(ctx);
    f->path = qd_strdup(ctx, path);
    qdisp_status status = f->path ? make_partial(f) : QDISP_ENOMEM;
    if (status == QDISP_OK) *out = f;
    else qd_folder_discard(f);
    return status;
}

qdisp_status qd_folder_file(qd_folder *f, const char *name, const char **path) {
    QD_TRY(qd_grow(f->ctx, (void **)&f->files, &f->cap_files, f->n_files + 1, sizeof *f->files));
    char *text = qd_format(f->ctx, "%s/%s", f->partial, name);
    if (!text) return QDISP_ENOMEM;
    *path = f->files[f->n_files++] = text;
    return QDISP_OK;
}

qdisp_status qd_folder_write(qd_folder *f, const char *name, const void *bytes, size_t n_bytes) {
    const char *path = NULL;
    qd_output *output = NULL;
    QD_TRY(qd_folder_file(f, name, &path));
    QD_TRY(qd_output_open(f->ctx, path, &output));
    qdisp_status status = qd_output_write(output, bytes, n_bytes);
    if (status == QDISP_OK) return qd_output_commit(output);
    qd_output_discard(output);
    return status;
}

qdisp_status qd_folder_copy(qd_folder *f, const char *folder, const char *name) {
    char *path = qd_format(f->ctx, "%s/%s", folder, name);
    qd_mapped_file file = {0};
    if (!path) return QDISP_ENOMEM;
    bool is_there = access(path, F_OK) == 0;
    qdisp_status status = is_there ? qd_map_file(f->ctx, path, &file) : QDISP_OK;
    if (status == QDISP_OK && is_there) status = qd_folder_write(f, name, file.data, file.size);
    qd_unmap_file(&file);
    qd_free(f->ctx, path);
    return status;
}

void qd_folder_discard(qd_folder *f) {
    if (!f) return;
    qdisp_ctx *ctx = f->ctx;
    for (size_t i = 0; i < f->n_files; i++) {
        if (f->made) unlink(f->files[i]);
        qd_free(ctx, f->files[i]);
    }
    if (f->made) rmdir(f->partial);
    qd_free(ctx, f->files);
    qd_free(ctx, f->partial);
    qd_free(ctx, f->path);
    qd_free(ctx, f);
    qdisp_ctx_free(ctx);
}

qdisp_status qd_folder_commit(qd_folder *f) {
    qdisp_status status = QDISP_OK;
    int fd = open(f->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* the names; the files are synced already */
        close(fd);
    }
    /* An empty folder at the target is replaced; one that has filled meanwhile is not. */
    if (rename(f->partial, f->path) == 0) f->made = false;
    else status = qd_fail_errno(f->ctx, f->path, errno);
    qd_folder_discard(f);
    return status;
}
