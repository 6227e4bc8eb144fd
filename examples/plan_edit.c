/* plan_edit.c - makes a plan, gives one tensor more bits, applies it and writes the model.   plan_edit MODEL OUT
 * The plan is a table: it can as well be saved as CSV, edited by a person and read with qdisp_table_open_csv. */
#include <qdisp/qdisp.h>

#include <stdio.h>

static double error_of(const qdisp_table *plan, size_t i_row) {
    return qdisp_table_f64(plan, qdisp_table_find(plan, "error_rel"))[i_row];
}

/* The row whose relative error is largest. */
static size_t worst_row(const qdisp_table *plan) {
    size_t worst = 0;
    for (size_t i = 1; i < qdisp_table_n_rows(plan); i++)
        if (error_of(plan, i) > error_of(plan, worst)) worst = i;
    return worst;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: plan_edit MODEL OUT\n");
        return 2;
    }
    qdisp_ctx *ctx = NULL;
    qdisp_model *model = NULL, *quantized = NULL;
    qdisp_quantizer *quantizer = NULL;
    qdisp_table *plan = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 1;

    /* Round to nearest, 4 bits, a threshold every 64 weights; it needs no calibration, hence the NULL. */
    qdisp_quantizer_options options = {.size = sizeof options, .bits = 4, .group_size = 64};
    qdisp_status status = qdisp_model_open(ctx, argv[1], &model);
    if (status == QDISP_OK) status = qdisp_quantizer_new(ctx, "rtn", &options, &quantizer);
    if (status == QDISP_OK) status = qdisp_quantizer_plan(quantizer, model, NULL, &plan);

    if (status == QDISP_OK && qdisp_table_n_rows(plan) > 0) {
        size_t row = worst_row(plan), bits = qdisp_table_find(plan, "bits");
        printf("%s: relative error %.6f, from 4 to 8 bits\n",
               qdisp_table_str(plan, qdisp_table_find(plan, "tensor"))[row], error_of(plan, row));
        /* The thresholds (alpha, clip) stay; the step between levels follows from the bits. */
        status = qdisp_table_set_i64(plan, row, bits, 8);
    }
    if (status == QDISP_OK) status = qdisp_plan_apply(plan, model, NULL, &quantized);
    if (status == QDISP_OK) status = qdisp_model_save(quantized, argv[2]);
    if (status == QDISP_OK) printf("wrote %s\n", argv[2]);
    else fprintf(stderr, "%s: %s\n", qdisp_status_name(status), qdisp_ctx_error(ctx));

    qdisp_table_free(plan);
    qdisp_quantizer_free(quantizer);
    qdisp_model_free(quantized);
    qdisp_model_free(model);
    qdisp_ctx_free(ctx);
    return status == QDISP_OK ? 0 : 1;
}
