/* mapfile.c - files in (mapped or read) and out (whole or not at all). */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static qdisp_status open_regular(qdisp_ctx *ctx, const char *path, int *fd, size_t *size) {
    struct stat st;
    /* O_NONBLOCK: a FIFO must not hang the open; it changes nothing for regular files */
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return qd_fail_errno(ctx, path, errno);
    if (fstat(*fd, &st) != 0) {
        int error = errno;
        close(*fd);
        return qd_fail_errno(ctx, path, error);
    }
    if (!S_ISREG(st.st_mode)) {
        close(*fd);
        return qd_fail(ctx, QDISP_EIO, "%s: not a regular file", path);
    }
    *size = (size_t)st.st_size;
    return QDISP_OK;
}

qdisp_status qd_map_file(qdisp_ctx *ctx, const char *path, qd_mapped_file *out) {
    int fd;
    size_t size = 0;
    QD_TRY(open_regular(ctx, path, &fd, &size));
    void *data = (void *)"";
    if (size > 0) data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    if (size == 0 || data == MAP_FAILED) close(fd);
    if (data == MAP_FAILED) return qd_fail_errno(ctx, path, error);
    *out = (qd_mapped_file){data, size, size > 0 ? fd : -1};
    return QDISP_OK;
}

void qd_unmap_file(qd_mapped_file *file) {
    if (file->size > 0) {
        munmap((void *)(uintptr_t)file->data, file->size);
        close(file->fd);
    }
    *file = (qd_mapped_file){0};
}

qdisp_status qd_read_mapped(qdisp_ctx *ctx, const qd_mapped_file *file, const char *path, size_t offset, size_t n,
                            void *buffer) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(file->fd, (char *)buffer + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return qd_fail_errno(ctx, path, errno);
        if (got == 0) {
            return qd_fail(ctx, QDISP_EIO, "%s: byte %zu is gone, of %zu when it was opened", path, offset + done,
                           file->size);
        }
        done += (size_t)got;
    }
    return QDISP_OK;
}

qdisp_status qd_read_file(qdisp_ctx *ctx, const char *path, size_t max_bytes, char **data, size_t *size) {
    int fd;
    size_t n = 0, done = 0;
    QD_TRY(open_regular(ctx, path, &fd, &n));
    if (n > max_bytes) {
        close(fd);
        return qd_fail(ctx, QDISP_EFORMAT, "%s: %zu bytes, more than the %zu allowed for this kind of file", path, n,
                       max_bytes);
    }
    char *text = qd_alloc(ctx, n + 1, 1);
    if (!text) {
        close(fd);
        return QDISP_ENOMEM;
    }
    while (done < n) {
        ssize_t got = read(fd, text + done, n - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            int error = got < 0 ? errno : EIO; /* it shrank under us */
            close(fd);
            qd_free(ctx, text);
            return qd_fail_errno(ctx, path, error);
        }
        done += (size_t)got;
    }
    close(fd);
    *data = text;
    *size = n;
    return QDISP_OK;
}

bool qd_is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

#define BUFFER_SIZE ((size_t)1 << 16)

struct qd_output {
    qdisp_ctx *ctx;
    char *path, *temporary; /* the same text for a device, which is written to and not replaced */
    bool in_place;
    int fd;
    int error; /* first write error */
    size_t n_buffered;
    char buffer[BUFFER_SIZE];
};

static void output_free(qd_output *o) {
    qdisp_ctx *ctx = o->ctx;
    qd_free(ctx, o->path);
    qd_free(ctx, o->temporary);
    qd_free(ctx, o);
    qdisp_ctx_free(ctx);
}

qdisp_status qd_output_open(qdisp_ctx *ctx, const char *path, qd_output **out) {
    struct stat st;
    qd_output *o = qd_alloc(ctx, 1, sizeof *o);
    if (!o) return QDISP_ENOMEM;
    o->ctx = qd_ctx_ref(ctx);
    o->in_place = stat(path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode));
    o->fd = -1;
    o->path = qd_strdup(ctx, path);
    if (o->path)
        o->temporary = o->in_place ? qd_strdup(ctx, path) : qd_format(ctx, "%s.tmp-%ld", path, (long)getpid());
    if (!o->temporary) {
        output_free(o);
        return QDISP_ENOMEM;
    }
    o->fd = open(o->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        int error = errno;
        output_free(o);
        qd_fail_errno(ctx, path, error);
        return QDISP_EIO; /* a missing folder is a failed output, not a missing input */
    }
    *out = o;
    return QDISP_OK;
}

static void write_all(qd_output *o, const char *bytes, size_t n) {
    while (n > 0 && !o->error) {
        ssize_t put = write(o->fd, bytes, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            o->error = errno;
            return;
        }
        bytes += put;
        n -= (size_t)put;
    }
}

qdisp_status qd_output_write(qd_output *o, const void *bytes, size_t n) {
    if (o->n_buffered + n > BUFFER_SIZE) {
        write_all(o, o->buffer, o->n_buffered);
        o->n_buffered = 0;
    }
    if (n >= BUFFER_SIZE) {
        write_all(o, bytes, n);
    } else if (n > 0) {
        memcpy(o->buffer + o->n_buffered, bytes, n);
        o->n_buffered += n;
    }
    return o->error ? qd_fail_errno(o->ctx, o->path, o->error) : QDISP_OK;
}

qdisp_status qd_output_write_at(qd_output *o, uint64_t offset, const void *bytes, size_t n) {
    write_all(o, o->buffer, o->n_buffered);
    o->n_buffered = 0;
    for (size_t done = 0; done < n && !o->error;) {
        ssize_t put = pwrite(o->fd, (const char *)bytes + done, n - done, (off_t)(offset + done));
        if (put < 0 && errno != EINTR) o->error = errno;
        if (put > 0) done += (size_t)put;
    }
    return o->error ? qd_fail_errno(o->ctx, o->path, o->error) : QDISP_OK;
}

void qd_output_discard(qd_output *o) {
    if (!o) return;
    close(o->fd);
    if (!o->in_place) unlink(o->temporary);
    output_free(o);
}

qdisp_status qd_output_commit(qd_output *o) {
    write_all(o, o->buffer, o->n_buffered);
    if (!o->error && fsync(o->fd) != 0 && errno != EINVAL && errno != EROFS) o->error = errno;
    if (close(o->fd) != 0 && !o->error) o->error = errno;
    o->fd = -1;
    if (!o->error && !o->in_place && rename(o->temporary, o->path) != 0) o->error = errno;
    if (!o->error) {
        output_free(o);
        return QDISP_OK;
    }
    if (!o->in_place) unlink(o->temporary);
    qdisp_ctx *ctx = qd_ctx_ref(o->ctx);
    qd_fail_errno(ctx, o->path, o->error);
    output_free(o);
    qdisp_ctx_free(ctx);
    return QDISP_EIO;
}
