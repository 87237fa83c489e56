// `mneme export --faiss`: the index of one partition as a file of FAISS.
#ifndef MNEME_CLIENT_CLI_EXPORT_FAISS_H_
#define MNEME_CLIENT_CLI_EXPORT_FAISS_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/selection.h"
#include "client/cli/session.h"

namespace mneme::cli {

struct FaissExport {
  std::string memory;
  std::string file;
  Selection selection;
};

// Returns a UsageError when the selection is more than one partition, or less than all of it.
absl::Status ExportFaiss(const FaissExport& wanted, Session& session);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_EXPORT_FAISS_H_
