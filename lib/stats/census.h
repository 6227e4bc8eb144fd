/* census.h - what other layers ask of a census. */
#ifndef QD_CENSUS_H
#define QD_CENSUS_H

#include "model/model.h"

/* The outlier layers of a model: the quarter of its layers (at least one) whose largest weight kurtosis
 * is highest. is_outlier[n_layer]; ties go to the lower layer. Chosen from the weights alone. */
qdisp_status qd_outlier_layers(const qdisp_model *model, bool *is_outlier);

#endif
