#include "exports.h"

CSGNN_KERNELS(BFloat16, bfloat16)
