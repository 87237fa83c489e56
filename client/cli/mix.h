// Mix: the option --mix NAME=WEIGHT[:PARTITION], by which a verb asks several memories at once, and what each answered.
#ifndef MNEME_CLIENT_CLI_MIX_H_
#define MNEME_CLIENT_CLI_MIX_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/command.h"
#include "client/cli/describe.h"
#include "mneme/v1/memory.pb.h"

namespace mneme::cli {

void AddMixOption(Command verb, std::vector<std::string>& parts);

// Makes of a request to one memory one to a mixture: each part is a source with its weight, and the memory that was
// named has what is left of 1. Without parts the request stays as it is. Returns a usage error, naming the part, unless
// each is NAME=WEIGHT or NAME=WEIGHT:PARTITION, and something is left.
absl::Status MixIn(const std::vector<std::string>& parts, v1::QueryRequest& request);

// What each source of a mixture found for a row, and the weight that it had; of an attention that tells weights also
// how many of them are of this source, as they come source by source.
Json SourcesJson(const v1::QueryResponse& response, size_t row);
std::string SourcesText(const v1::QueryResponse& response, size_t row);

// Of all sources together; of one memory its own.
v1::SearchStatistics WholeStatistics(const v1::QueryResponse& response);
v1::Coverage WholeCoverage(const v1::QueryResponse& response);

}  // namespace mneme::cli

#endif  // MNEME_CLIENT_CLI_MIX_H_
