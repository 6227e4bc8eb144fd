/* formats.c - the containers of tensors that can be read: one file and one row in formats.inc each. */
#include "tensor/tensor.h"

#define FORMAT(name) extern const qd_container qd_container_##name;
#include "tensor/formats.inc"
#undef FORMAT

static const qd_container *const formats[] = {
#define FORMAT(name) &qd_container_##name,
#include "tensor/formats.inc"
#undef FORMAT
};

static const char names[] =
#define FORMAT(name) " " #name
#include "tensor/formats.inc"
#undef FORMAT
    ;

qdisp_status qd_tensor_file_detect(qd_tensor_file *file, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i]->matches(data, size)) return formats[i]->parse(file, data, size);
    }
    return qd_fail(file->ctx, QDISP_EUNSUPPORTED, "%s: not a container of tensors that is known (there is%s)",
                   file->path, names);
}

const char *qd_tensor_file_container(const qd_tensor_file *file) {
    if (!file->n_maps) return NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i]->matches(file->maps[0].data, file->maps[0].size)) return formats[i]->name;
    }
    return NULL;
}
