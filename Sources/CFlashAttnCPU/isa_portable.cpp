#include "bodies.h"

#define FA_ISA portable
#include "simd/portable.h"

#include "rooms.h"
