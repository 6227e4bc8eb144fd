/* qdisp/qdisp.h - all of libqdisp. Which languages does a quantization hurt, why, and what to do about it. */
#ifndef QDISP_QDISP_H
#define QDISP_QDISP_H

#include <qdisp/base.h>
#include <qdisp/table.h>
#include <qdisp/model.h>
#include <qdisp/tokenizer.h>
#include <qdisp/corpus.h>
#include <qdisp/stats.h>
#include <qdisp/calib.h>
#include <qdisp/quant.h>
#include <qdisp/eval.h>
#include <qdisp/fertility.h>
#include <qdisp/inspect.h>

#endif
