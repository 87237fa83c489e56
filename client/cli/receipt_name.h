// ReceiptName: a receipt as a word of the command line, with all that asking for it takes.
#ifndef MNEME_CLIENT_CLI_RECEIPT_NAME_H_
#define MNEME_CLIENT_CLI_RECEIPT_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "mneme/v1/memory.pb.h"

namespace mneme::cli {

// MEMORY:PARTITIONS:ID, the partitions being numbers with commas between, or `all`.
std::string ReceiptName(const std::string& memory, const v1::PartitionSelection& partitions, const std::string& id);
// Returns a UsageError if `name` is none.
absl::StatusOr<v1::GetReceiptRequest> ParseReceiptName(const std::string& name);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_RECEIPT_NAME_H_
