/* qdisp/model.h - models: tensors with roles, forward pass, negative log-likelihood. */
#ifndef QDISP_MODEL_H
#define QDISP_MODEL_H

#include <qdisp/base.h>
#include <qdisp/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A tensor as it lies in memory: row-major, little-endian, at any alignment. Frozen struct. */
typedef struct qdisp_tensor {
    const char *name;
    const void *data;
    uint64_t n_bytes;
    uint64_t shape[4]; /* shape[0] varies slowest; a linear map is [n_out, n_in] */
    uint32_t n_dims;   /* 0..4 */
    uint32_t dtype;    /* qdisp_dtype */
} qdisp_tensor;

/* Sizes of a model. Frozen struct. */
typedef struct qdisp_model_info {
    const char *architecture; /* "bloom" */
    uint64_t n_parameters;    /* tied tensors counted once */
    uint64_t n_bytes;         /* of all tensors */
    uint32_t n_vocab;
    uint32_t n_layer;
    uint32_t n_head;
    uint32_t n_embd;
    int32_t bos_id; /* -1: none */
    int32_t eos_id; /* -1: none */
} qdisp_model_info;

/* An immutable model; any number of threads may use it at once. */
typedef struct qdisp_model qdisp_model;

/* Opens a Hugging Face folder: config.json and model.safetensors (F32, F16 or BF16), mapped, not copied.
 * Architectures: bloom. Every size is checked against config and file before use. Tensors stand in the order of the
 * forward pass. The file must not be truncated while the model lives: a mapping would fault.
 * Errors: ENOTFOUND, EIO, EFORMAT (file, tensor and reason), EUNSUPPORTED (architecture or dtype by name), ENOMEM.
 * Cost: reads the header; memory for names and shapes. */
QDISP_API qdisp_status qdisp_model_open(qdisp_ctx *ctx, const char *path, qdisp_model **out);
/* The same from tensors that a host holds: config is the text of a config.json; tensors[n_tensors] by their Hugging
 * Face names. Data are not copied: they must stay valid and unchanged until the model is freed; names are copied.
 * Errors: as above; EINVAL for NULL data or n_bytes that does not match shape and dtype. */
QDISP_API qdisp_status qdisp_model_from_tensors(qdisp_ctx *ctx, const char *config, const qdisp_tensor *tensors,
                                                size_t n_tensors, qdisp_model **out);
QDISP_API void qdisp_model_free(qdisp_model *model);

QDISP_API const qdisp_model_info *qdisp_model_describe(const qdisp_model *model);
QDISP_API size_t qdisp_model_n_tensors(const qdisp_model *model);
/* Tensor i, owned by the model. Errors: EINVAL (index). */
QDISP_API qdisp_status qdisp_model_tensor(const qdisp_model *model, size_t i_tensor, qdisp_tensor *out);
/* Role of tensor i: "embed", "embed_norm", "attn_norm", "attn.qkv", "attn.out", "mlp_norm", "mlp.up", "mlp.down",
 * "norm", "head", with ".bias" appended for biases; static string, NULL outside the range. A tied head has no tensor of
 * its own: it is the one of role "embed". */
QDISP_API const char *qdisp_model_role(const qdisp_model *model, size_t i_tensor);
/* Layer of tensor i, 0.., or -1 for tensors outside the layers. */
QDISP_API int qdisp_model_layer(const qdisp_model *model, size_t i_tensor);
/* Table "tensors": name, role, layer, dtype, shape, n_parameters, n_bytes. */
QDISP_API qdisp_status qdisp_model_tensors(const qdisp_model *model, qdisp_table **out);

/* Logits of one sequence. ids[n_ids], each in [0, n_vocab); logits[n_ids * n_vocab], row i for the token after ids[i].
 * Computed in f32 on OpenBLAS. Errors: EINVAL (empty, an id out of range: names position and id), ENOMEM, ECANCELLED.
 * Cost: about 2 n_parameters operations a token plus attention. */
QDISP_API qdisp_status qdisp_model_forward(const qdisp_model *model, const int32_t *ids, size_t n_ids, float *logits);
/* Negative log-likelihood, in nats, of every token given those before it, for many sequences at once: sequence s is
 * ids[starts[s]] .. ids[starts[s + 1] - 1], starts[n_seq + 1] ascending from 0. nll[starts[n_seq]]; the first token of
 * a sequence has no context and gets NaN. Logits are never held for more than a block of tokens.
 * Results do not depend on the number of threads when OpenBLAS itself runs single-threaded;
 * an OpenBLAS with threads of its own is left to use them, and its sums may then depend on their number.
 * Errors: as qdisp_model_forward; EINVAL for starts that do not ascend. */
QDISP_API qdisp_status qdisp_model_nll(const qdisp_model *model, const int32_t *ids, const size_t *starts, size_t n_seq,
                                       float *nll);

/* Writes the model as a Hugging Face folder (config.json, model.safetensors in F32, and the tokenizer files of the
 * folder it came from, if any). path must not exist or be an empty folder. Errors: EINVAL (path in use), EIO (names the
 * file and the system's reason; nothing half-written stays), ENOMEM. */
QDISP_API qdisp_status qdisp_model_save(const qdisp_model *model, const char *path);

#ifdef __cplusplus
}
#endif
#endif
