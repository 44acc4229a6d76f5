// The convolutions once more, with factors in bfloat16 that are multiplied in pairs.
#define CSGNN_TWINS
#include "exports.h"

CSGNN_CONVOLUTIONS(BFloat16, bfloat16_twins)
