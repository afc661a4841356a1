// The history behind the C interface.
#ifndef SOFTMETAL_CHECKS_HISTORY_H
#define SOFTMETAL_CHECKS_HISTORY_H

#include "../include/softmetal_checks.h"
#include "checks.h"

struct sm_check_history {
  softmetal::CheckHistory history;
};

#endif
