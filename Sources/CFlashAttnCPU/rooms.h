// Every room's implementation, for the instruction set whose vectors have been included.
#ifndef FA_CPU_ROOMS_H
#define FA_CPU_ROOMS_H

#include "prefill/prefill.h"

#endif
