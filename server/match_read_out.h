// The match read-out: the best counterpart of each entry of two memories, by CSLS.
#ifndef MNEME_SERVER_MATCH_READ_OUT_H_
#define MNEME_SERVER_MATCH_READ_OUT_H_

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/entry_query.h"

namespace mneme {

// Blocks. The query selects the target side. Fills result and statistics; returns the version of that side that was
// read.
absl::StatusOr<Version> AnswerMatch(const EntryQuery& query, v1::QueryResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_MATCH_READ_OUT_H_
