/* experts_unstack.c - experts that a checkpoint holds in one tensor, as transformers 5 has them in memory and can save
 * them: "experts.gate_up_proj" [n_expert, 2 n_ff, n_embd], the gate's rows first, and "experts.down_proj" [n_expert,
 * n_embd, n_ff]. They become one tensor an expert and map by views, under the names that other checkpoints have. */
#include <stdio.h>
#include <string.h>

#include "model/assemble.h"

#define NAME_BYTES 192

static const struct {
    const char *stack, *parts[2]; /* what it is called after "mlp.experts.", and its halves */
} STACKS[] = {{"gate_up_proj", {"gate_proj", "up_proj"}}, {"down_proj", {"down_proj", NULL}}};
#define N_STACKS (sizeof STACKS / sizeof *STACKS)

/* The row above and the length of the name as far as "experts.", or N_STACKS. */
static size_t find_stack(const qdisp_tensor *t, size_t *n_base) {
    const char *experts = strstr(t->name, ".mlp.experts.");
    size_t i = N_STACKS;
    if (experts && t->n_dims == 3) {
        *n_base = (size_t)(experts - t->name) + strlen(".mlp.experts.");
        for (i = 0; i < N_STACKS && strcmp(t->name + *n_base, STACKS[i].stack); i++) {}
    }
    return i;
}

static qdisp_status give_name(qd_tensor_file *file, qdisp_tensor *t, const char *base, size_t n_base, size_t expert,
                              const char *part) {
    char name[NAME_BYTES];
    int n = snprintf(name, sizeof name, "%.*s%zu.%s.weight", (int)n_base, base, expert, part);
    t->name = qd_tensor_file_text(file, name, (size_t)n);
    return t->name ? QDISP_OK : QDISP_ENOMEM;
}

/* The parts of the first expert take the stack's place, those of others go to the end of the list. */
static qdisp_status unstack(qd_tensor_file *file, size_t i, size_t n_base, const char *const parts[2]) {
    qdisp_tensor stack = file->tensors[i];
    size_t n_parts = parts[1] ? 2 : 1, n = (size_t)stack.shape[0] * n_parts;
    if (!n || stack.shape[0] > QD_MAX_EXPERTS || stack.shape[1] % n_parts || n_base > NAME_BYTES - 40) {
        char shape[96];
        qd_tensor_shape_text(stack.shape, stack.n_dims, shape);
        return qd_fail(file->ctx, QDISP_EFORMAT, "%s: tensor '%.150s': shape %s is no stack of experts (at most %d)",
                       file->path, stack.name, shape, QD_MAX_EXPERTS);
    }
    stack.shape[0] = n; /* halves are slices, too */
    stack.shape[1] /= n_parts;
    QD_TRY(qd_tensor_file_reserve(file, n));
    for (size_t k = 0; k < n; k++) {
        qdisp_tensor t = stack;
        QD_TRY(qd_tensor_slice(file, &t, k));
        QD_TRY(give_name(file, &t, stack.name, n_base, k / n_parts, parts[k % n_parts]));
        file->tensors[k ? file->n_tensors++ : i] = t;
    }
    return QDISP_OK;
}

qdisp_status qd_experts_unstack(qd_tensor_file *file) {
    size_t n = file->n_tensors, n_base = 0, n_found = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = find_stack(&file->tensors[i], &n_base);
        if (k == N_STACKS) continue;
        QD_TRY(unstack(file, i, n_base, STACKS[k].parts));
        n_found++;
    }
    return n_found ? qd_tensor_file_index(file) : QDISP_OK;
}
