/* checkpoint.h - a quantized Hugging Face folder in writing: config.json, model.safetensors, what a tokenizer needs.
 * A packer says which parts stand for the weight of a module and fills them; all else is the same for every form. */
#ifndef QD_CHECKPOINT_H
#define QD_CHECKPOINT_H

#include <jansson.h>

#include "quant/fold.h"
#include "quant/packers.h"

enum { QD_MAX_PARTS = 6 };

/* A tensor that stands, with others, for a weight: named MODULE and suffix. */
typedef struct qd_module_part {
    const char *suffix; /* static */
    qdisp_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[2];
} qd_module_part;
typedef size_t (*qd_module_parts)(const qd_choice *c, qd_module_part parts[QD_MAX_PARTS]);

typedef struct qd_checkpoint {
    const qd_packing *packing;
    qdisp_ctx *ctx;
    qd_fold *folds;
    qd_folder *folder;
    qdisp_tensor *tensors; /* what is written */
    size_t n, cap;
    char **names;          /* [n_names] of parts */
    size_t n_names, cap_names;
    size_t *first;         /* [n_choices] its first part */
    qd_safetensors_writer *writer;
} qd_checkpoint;

/* Whether every choice is a matrix of integers that a form with modules can name, and its scaled inputs can go into
 * what is around them. form: for messages. EUNSUPPORTED names the tensor; EINVAL: the path is in use. */
qdisp_status qd_checkpoint_check(const qd_packing *packing, const char *form);
/* Makes the folder and writes all tensors that are not quantized. */
qdisp_status qd_checkpoint_open(const qd_packing *packing, qd_module_parts parts, qd_checkpoint **out);
/* All bytes of part i_part of a choice, in the order of `parts`. */
qdisp_status qd_checkpoint_put(qd_checkpoint *checkpoint, size_t i_choice, size_t i_part, const void *bytes);
/* The kept weights of a choice, if it has any: they stand behind its n_parts parts. */
qdisp_status qd_checkpoint_put_kept(qd_checkpoint *checkpoint, size_t i_choice, size_t n_parts, const qd_codes *codes);
/* The scales of codes as 16-bit floats, out[n_out, n_groups]: divided where the rows' outputs are scaled inputs of
 * another map, rounded then. ENUMERIC: beyond 16 bits. */
qdisp_status qd_checkpoint_scales(const qd_checkpoint *checkpoint, size_t i_choice, const qd_codes *codes,
                                  uint16_t *out);
/* The name of the module of a choice, without ".weight": length into its name. */
size_t qd_module_length(const qd_choice *c);
/* Takes quantization_config over (NULL: ENOMEM), which also becomes the file extra_name (NULL: none), and makes the
 * folder appear. Frees the checkpoint in every case. */
qdisp_status qd_checkpoint_commit(qd_checkpoint *checkpoint, json_t *quantization_config, const char *extra_name);
void qd_checkpoint_discard(qd_checkpoint *checkpoint); /* NULL is fine */

#endif
