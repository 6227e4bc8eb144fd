/* assemble.h - the steps of opening a model. */
#ifndef QD_ASSEMBLE_H
#define QD_ASSEMBLE_H

#include "model/arch.h"

/* Reads a config (m->arch is set) and what every config has in common. path is for messages. */
qdisp_status qd_model_configure(qdisp_model *m, const char *path, const json_t *json);
/* Stacks of experts in one tensor become one tensor an expert. Errors: EFORMAT, ENOMEM. */
qdisp_status qd_experts_unstack(qd_tensor_file *file);
/* Finds and checks the tensors of m->file, given m->arch and m->config; fills tensors, linears, index and info. */
qdisp_status qd_model_assemble(qdisp_model *m);

#endif
