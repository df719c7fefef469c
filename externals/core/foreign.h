// Models that functions of the host compute.
#pragma once
#include "model.h"
#include "neurig.h"

namespace neurig {

// Releases the engine with the last reference to the model; not where this throws.
std::shared_ptr<Model> foreign_model(const neurig_engine &engine, const char *about);

}  // namespace neurig
