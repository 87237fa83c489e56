// EntryQuery: a query whose read-out is of entries rather than of the nearest, checked as far as these are alike.
#ifndef MNEME_SERVER_ENTRY_QUERY_H_
#define MNEME_SERVER_ENTRY_QUERY_H_

#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/unary_call.h"

namespace mneme {

// Borrows all but the selection.
struct EntryQuery {
  const CallContext& call;
  const MemoryHandle& memory;
  const v1::QueryRequest& request;
  VisitCommand selection;
  v1::Precision precision = v1::PRECISION_DOUBLE;
};

}  // namespace mneme

#endif  // MNEME_SERVER_ENTRY_QUERY_H_
