/* fuzz_table.c - a CSV that reads must write, and what is written must read as the same table. */
#include "fuzz.h"

#include <qdisp/table.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    qdisp_ctx *ctx = NULL;
    qdisp_table *table = NULL, *again = NULL;
    if (qdisp_ctx_new(NULL, &ctx) != QDISP_OK) return 0;
    const char *path = fuzz_file(data, size);
    if (qdisp_table_open_csv(ctx, path, "fuzz", &table) == QDISP_OK) {
        require(qdisp_table_save(table, path, "csv") == QDISP_OK);
        require(qdisp_table_open_csv(ctx, path, "fuzz", &again) == QDISP_OK);
        require(qdisp_table_n_rows(again) == qdisp_table_n_rows(table));
        require(qdisp_table_n_columns(again) == qdisp_table_n_columns(table));
        for (size_t i = 0; i < qdisp_table_n_columns(table); i++)
            require(!strcmp(qdisp_table_column_name(again, i), qdisp_table_column_name(table, i)));
    } else {
        require(table == NULL && qdisp_ctx_error(ctx)[0]);
    }
    qdisp_table_free(table);
    qdisp_table_free(again);
    qdisp_ctx_free(ctx);
    return 0;
}
