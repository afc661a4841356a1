// Every room's implementation, for the instruction set whose vectors have been included.
#ifndef FA_CPU_ROOMS_H
#define FA_CPU_ROOMS_H

#include "simd/math.h"

#include "prefill/tiles.h"

#include "prefill/pack.h"

#include "prefill/panel.h"

#include "prefill/prefill.h"

#endif
