// Neighbours on their way back: CSR columns. Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_NEIGHBOURS_H_
#define MNEME_SERVER_CONVERT_NEIGHBOURS_H_

#include "mneme/v1/memory.pb.h"
#include "server/query_plan.h"

namespace mneme {

// What `plan.neighbours` asks for of what its one source found. Distances: squared under L2, else the similarity.
void WriteNeighbours(const QueryPlan& plan, v1::NeighboursResult* out);

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_NEIGHBOURS_H_
