/* qdisp/inspect.h - what is at a path: a model, weights, a tokenizer. */
#ifndef QDISP_INSPECT_H
#define QDISP_INSPECT_H

#include <qdisp/base.h>
#include <qdisp/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Tells by content what is at a path: a model (folder or GGUF file), a file of tensors without its model, a tokenizer.
 * Report "inspection" with tables, those of them that there is something for:
 *   summary   property, value, as text: container, files, file_bytes, architecture, kind, the sizes of
 *             qdisp_model_info, positions, window, head, special ids with their tokens, tokenizer, n_tokens, prefix,
 *             suffix, mask. A part that cannot be opened has the reason as its value: "model: none: config.json ..."
 *   formats   how values are stored: format, n_tensors, n_parameters, n_bytes
 *   tensors   name, role, layer, expert (missing where the model is not known), format, shape, n_parameters, n_bytes
 *   files     file, n_bytes: of the weights
 *   metadata  key, value: what the file of tensors says besides; arrays as their type and length, texts cut at 200 B
 * Errors: ENOTFOUND, EIO; if nothing at the path can be opened, the status and reason of what came nearest; ENOMEM.
 * Cost: reads headers and the tokenizer, no weights. */
QDISP_API qdisp_status qdisp_inspect(qdisp_ctx *ctx, const char *path, qdisp_report **out);

#ifdef __cplusplus
}
#endif
#endif
