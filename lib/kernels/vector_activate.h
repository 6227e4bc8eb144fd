/* vector_activate.h - c_activate.c over vectors; a part of kernels_vector.h. */

#define v_bias_act qd_c_bias_act
#define v_act_gated qd_c_act_gated
#define v_act_grad qd_c_act_grad
#define v_act_gated_grad qd_c_act_gated_grad
#define v_scale_softcap qd_c_scale_softcap
