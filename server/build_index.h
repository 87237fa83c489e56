// BuildIndex: bringing an index up to date, with progress.
#ifndef MNEME_SERVER_BUILD_INDEX_H_
#define MNEME_SERVER_BUILD_INDEX_H_

#include "mneme/v1/admin.pb.h"
#include "server/progress_stream.h"

namespace mneme {

absl::Status HandleBuildIndex(const CallContext& call, const v1::BuildIndexRequest& request,
                              const Tell<v1::BuildIndexResponse>& tell);

}  // namespace mneme

#endif  // MNEME_SERVER_BUILD_INDEX_H_
