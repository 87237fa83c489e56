// ProbeRecall: how much of the exact answer the approximate search finds, and what the rest is worth in ln p.
#ifndef MNEME_SERVER_PROBE_RECALL_H_
#define MNEME_SERVER_PROBE_RECALL_H_

#include "absl/status/status.h"
#include "mneme/v1/admin.pb.h"
#include "server/call_record.h"

namespace mneme {

// Searches given keys, or a sample of stored ones (each without itself), twice. Blocks. Covers partition 0.
absl::Status HandleProbeRecall(const CallContext& call, const v1::ProbeRecallRequest& request,
                               v1::ProbeRecallResponse* response);

}  // namespace mneme

#endif  // MNEME_SERVER_PROBE_RECALL_H_
