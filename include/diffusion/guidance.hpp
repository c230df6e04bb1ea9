/// @file guidance.hpp
/// Includes every header of guidance/.
#pragma once

/// @defgroup guidance Guidance: conditional sampling
/// Models that combine the outputs of other models, so that samples follow a condition more
/// closely: classifier-free, adaptive projected, CFG++ and classifier guidance.

#include "guidance/adaptive_projected.hpp"
#include "guidance/cfg_plus_plus.hpp"
#include "guidance/classifier.hpp"
#include "guidance/classifier_free.hpp"
#include "guidance/guided_model.hpp"
