#include "exports.h"

CSGNN_KERNELS(float, float32)
