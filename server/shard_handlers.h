// What front ends ask of the shard that this process hosts (proto/mneme/internal/v1/shard.proto). Bodies are laid flat
// in the order in which the handlers read and write them; cluster/ is the other side.
#ifndef MNEME_SERVER_SHARD_HANDLERS_H_
#define MNEME_SERVER_SHARD_HANDLERS_H_

#include "mneme/internal/v1/shard.pb.h"
#include "server/progress_stream.h"
#include "server/unary_call.h"

namespace mneme {

// --- shard_handlers.cc: searches ---
absl::Status HandleShardQuery(const CallContext& call, const internal::v1::Call& request,
                              internal::v1::Answer* response, Done done);
absl::Status HandleScore(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer* response);

// --- shard_read_handlers.cc: reads, which block ---
absl::Status HandleShardGet(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer* response);
absl::Status HandleShardCount(const CallContext& call, const internal::v1::Call& request,
                              internal::v1::Answer* response);
absl::Status HandleShardStored(const CallContext& call, const internal::v1::Call& request,
                               internal::v1::Answer* response);
absl::Status HandleSumByLabel(const CallContext& call, const internal::v1::Call& request,
                              internal::v1::Answer* response);
absl::Status HandleReadMatchRows(const CallContext& call, const internal::v1::Call& request,
                                 internal::v1::Answer* response);
absl::Status HandleShardScan(const CallContext& call, const internal::v1::Call& request,
                             internal::v1::Answer* response);
absl::Status HandleShardReceipt(const CallContext& call, const internal::v1::Call& request,
                                internal::v1::Answer* response);
absl::Status HandleShardReceipts(const CallContext& call, const internal::v1::Call& request,
                                 internal::v1::Answer* response);
absl::Status HandleDryDelete(const CallContext& call, const internal::v1::Call& request,
                             internal::v1::Answer* response);
absl::Status HandleVisit(const CallContext& call, const internal::v1::Call& request,
                         const Tell<internal::v1::Answer>& tell);
absl::Status HandleShardExport(const CallContext& call, const internal::v1::Call& request,
                               const Tell<internal::v1::Answer>& tell);
absl::Status HandleReadStates(const CallContext& call, const internal::v1::Call& request,
                              internal::v1::Answer* response);
absl::Status HandleReadSession(const CallContext& call, const internal::v1::Call& request,
                               internal::v1::Answer* response);
absl::Status HandleShardSessions(const CallContext& call, const internal::v1::Call& request,
                                 internal::v1::Answer* response);

// --- shard_handlers.cc: writes, where the shard has a replicated log ---
absl::Status HandleAwaitOutcome(const CallContext& call, const internal::v1::Call& request,
                                internal::v1::Answer* response, Done done);

// --- shard_handlers.cc: leases, statistics, work that takes minutes ---
absl::Status HandleShardAcquire(const CallContext& call, const internal::v1::Call& request,
                                internal::v1::Answer* response);
absl::Status HandleShardRenew(const CallContext& call, const internal::v1::Call& request,
                              internal::v1::Answer* response);
absl::Status HandleShardRelease(const CallContext& call, const internal::v1::Call& request,
                                internal::v1::Answer* response);
absl::Status HandleShardStatistics(const CallContext& call, const internal::v1::Call& request,
                                   internal::v1::Answer* response);
absl::Status HandleShardBuild(const CallContext& call, const internal::v1::Call& request,
                              const Tell<internal::v1::Answer>& tell);
absl::Status HandleShardPrune(const CallContext& call, const internal::v1::Call& request,
                              const Tell<internal::v1::Answer>& tell);
absl::Status HandleGoOnPrune(const CallContext& call, const internal::v1::Call& request,
                             internal::v1::Answer* response);

// --- catalogue_handlers.cc ---
absl::Status HandleWatch(const CallContext& call, const internal::v1::WatchRequest& request,
                         internal::v1::WatchAnswer* response, Done done);
absl::Status HandleChange(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer* response);
absl::Status HandleConfirm(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer* response);
absl::Status HandlePromise(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer* response);
absl::Status HandleSnapshot(const CallContext& call, const internal::v1::Call& request, internal::v1::Answer* response);

}  // namespace mneme

#endif  // MNEME_SERVER_SHARD_HANDLERS_H_
