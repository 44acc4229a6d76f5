#include "exports.h"

CSGNN_KERNELS(double, float64)
