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

#endif
