/* gguf_model.h - a GGUF file as the model that it was converted from. */
#ifndef QD_GGUF_MODEL_H
#define QD_GGUF_MODEL_H

#include "model/arch.h"
#include "tensor/gguf.h"

/* The text of a config.json that says what the file's keys say, owned by the caller. Errors: EUNSUPPORTED
 * (general.architecture, a kind of scaling), EFORMAT (a key that is missing or of another type), ENOMEM. */
qdisp_status qd_gguf_config(qd_tensor_file *file, char **out);
/* Gives the file's tensors the names and the order of rows that arch's checkpoints have: experts one by one, llama's
 * queries and keys and fused q, k, v as they were, Gemma's norms less one. Nothing is copied. Errors: EFORMAT (a tensor
 * without a place), ENOMEM. */
qdisp_status qd_gguf_restore(qd_tensor_file *file, const qd_arch *arch, const qd_model_config *config);

/* --- the other way: a model as the tensors and keys of a GGUF file --- */

typedef enum qd_gguf_rows { QD_ROWS_SAME, QD_ROWS_UNPAIRED, QD_ROWS_GROUPED, QD_ROWS_PLUS_ONE } qd_gguf_rows;

/* Where a tensor of a model stands in GGUF. */
typedef struct qd_gguf_place {
    char name[64];
    size_t i_slice, n_slices; /* experts of a block are slices of one tensor; else 0 of 1 */
    bool wide;                /* f32 whatever its type: norms, biases, positions, routers */
    qd_gguf_rows rows;        /* how rows are moved, or that 1 is added to the values */
    size_t head_dim, n_head, n_kv_head;
} qd_gguf_place;

/* Errors: EUNSUPPORTED (GGUF has no name for the tensor). */
qdisp_status qd_gguf_find_place(const qdisp_model *model, size_t i_tensor, qd_gguf_place *out);
/* The row of the file's tensor (of its slice) that row `row` of the model's becomes. */
size_t qd_gguf_row(const qd_gguf_place *place, size_t row);

/* general.architecture of a model, and whether its config can be written: EUNSUPPORTED says what cannot. */
qdisp_status qd_gguf_architecture(const qdisp_model *model, const char **out);
/* Keys of the architecture: sizes, positions, special tokens. *factors: [n_rot / 2] divisors of the frequencies that
 * have to be written as rope_freqs.weight, owned by the caller; NULL: none. */
qdisp_status qd_gguf_put_config(const qdisp_model *model, qd_gguf_writer *w, float **factors, size_t *n_factors);

#endif
