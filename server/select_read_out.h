// The select read-out: entries chosen by their scores, of each partition as a pool.
#ifndef MNEME_SERVER_SELECT_READ_OUT_H_
#define MNEME_SERVER_SELECT_READ_OUT_H_

#include "absl/status/statusor.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "server/entry_query.h"

namespace mneme {

// Blocks. Fills result and statistics; returns the version that was read.
absl::StatusOr<Version> AnswerSelect(const EntryQuery& query, v1::QueryResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_SELECT_READ_OUT_H_
