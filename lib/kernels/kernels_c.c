/* kernels_c.c - the table of the specification: the files c_*.c say what every kernel
 * returns, to the bit, on every instruction set. */
#include "lanes.h"

const qd_kernels qd_kernels_c = {
#define K(name, ret, args) .name = qd_c_##name,
#include "kernels.inc"
#undef K
};
