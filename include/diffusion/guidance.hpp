/// @file guidance.hpp
/// Models made of models, whose samples follow a condition more closely.
#pragma once

#include "guidance/adaptive_projected.hpp"
#include "guidance/cfg_plus_plus.hpp"
#include "guidance/classifier.hpp"
#include "guidance/classifier_free.hpp"
#include "guidance/guided_model.hpp"
