// What a read or a deletion covers: partitions, filters, id lists. Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_SELECTION_H_
#define MNEME_SERVER_CONVERT_SELECTION_H_

#include <string>

#include "absl/status/status.h"
#include "engine/commands.h"
#include "mneme/v1/memory.pb.h"
#include "mneme/v1/types.pb.h"

namespace mneme {

// INVALID_ARGUMENT when both named and all, too many, or one named twice.
absl::Status ReadPartitions(const std::string& field, const v1::PartitionSelection& wire, PartitionSelection& out);
// True when entries of more than one partition may be in the answer.
bool CoversSeveral(const PartitionSelection& selection);

// Lists come out sorted and without repeats; an empty list on the wire accepts everything.
absl::Status ReadFilter(const std::string& field, const v1::Filter& wire, RowFilter& out);

// All of a deletion but the memory. INVALID_ARGUMENT without a target, or with a filter that has no condition.
absl::Status ReadDelete(const v1::DeleteRequest& request, DeleteCommand& command);

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_SELECTION_H_
