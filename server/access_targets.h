// AccessTargets: what a request wants to touch, for Decide(). Each request that a call takes has its overload: one
// without does not compile (CallRecord::Authorize).
#ifndef MNEME_SERVER_ACCESS_TARGETS_H_
#define MNEME_SERVER_ACCESS_TARGETS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "engine/commands.h"
#include "mneme/v1/admin.pb.h"
#include "mneme/v1/memory.pb.h"
#include "mneme/v1/working_memory.pb.h"
#include "security/decide.h"

namespace mneme {

namespace internal::v1 {
class AppendRequest;
class Call;
class WatchRequest;
}  // namespace internal::v1

// Names are views of the request's.
using AccessTargets = absl::InlinedVector<AccessTarget, 2>;

AccessTargets TargetsOf(const v1::InsertRequest& request);
AccessTargets TargetsOf(const v1::RememberRequest& request);
AccessTargets TargetsOf(const v1::DeleteRequest& request);
AccessTargets TargetsOf(const v1::GetReceiptRequest& request);
AccessTargets TargetsOf(const v1::ListReceiptsRequest& request);
AccessTargets TargetsOf(const v1::GetRequest& request);
AccessTargets TargetsOf(const v1::ScanRequest& request);
AccessTargets TargetsOf(const v1::CountRequest& request);
// The memory, if it names one; then its sources; then the other side of a match.
AccessTargets TargetsOf(const v1::QueryRequest& request);
AccessTargets TargetsOf(const v1::AcquireLeaseRequest& request);
AccessTargets TargetsOf(const v1::RenewLeaseRequest& request);
AccessTargets TargetsOf(const v1::ReleaseLeaseRequest& request);

AccessTargets TargetsOf(const v1::ApplyRequest& request);
AccessTargets TargetsOf(const v1::ResetSessionsRequest& request);
AccessTargets TargetsOf(const v1::MaskTokensRequest& request);
AccessTargets TargetsOf(const v1::ForkSessionRequest& request);
AccessTargets TargetsOf(const v1::GetSessionRequest& request);
AccessTargets TargetsOf(const v1::PutSessionRequest& request);
AccessTargets TargetsOf(const v1::ListSessionsRequest& request);

AccessTargets TargetsOf(const v1::CreateMemoryRequest& request);
AccessTargets TargetsOf(const v1::GetMemoryRequest& request);
AccessTargets TargetsOf(const v1::ListMemoriesRequest& request);
AccessTargets TargetsOf(const v1::DropMemoryRequest& request);
AccessTargets TargetsOf(const v1::SetAliasRequest& request);
AccessTargets TargetsOf(const v1::DropAliasRequest& request);
AccessTargets TargetsOf(const v1::ListAliasesRequest& request);
AccessTargets TargetsOf(const v1::BuildIndexRequest& request);
AccessTargets TargetsOf(const v1::ExportIndexRequest& request);
AccessTargets TargetsOf(const v1::GetStatisticsRequest& request);
AccessTargets TargetsOf(const v1::ProbeRecallRequest& request);
AccessTargets TargetsOf(const v1::PruneMemoryRequest& request);
AccessTargets TargetsOf(const v1::CreateBackupRequest& request);
AccessTargets TargetsOf(const v1::ListBackupsRequest& request);
AccessTargets TargetsOf(const v1::ShowClusterRequest& request);
AccessTargets TargetsOf(const v1::ChangeReplicasRequest& request);
AccessTargets TargetsOf(const v1::PingRequest& request);

// What the processes of a deployment ask of each other names nothing here: they may do everything.
AccessTargets TargetsOf(const internal::v1::AppendRequest& request);
AccessTargets TargetsOf(const internal::v1::Call& request);
AccessTargets TargetsOf(const internal::v1::WatchRequest& request);

// As they say themselves; at most one for each byte.
size_t RowsOf(const v1::Vectors& vectors);
// How many entries a request writes, for quotas. An append without keys has those of a query, which it does not know.
size_t EntriesOf(const v1::InsertRequest& request);
size_t EntriesOf(const v1::RememberRequest& request);
size_t EntriesOf(const v1::StepAppend& append);
template <typename Request>
size_t EntriesOf(const Request&) {
  return 0;
}

// What a request adds to a memory, for bounds on what is stored: entries, and about as many bytes as it has itself.
struct Addition {
  std::string_view memory;              // as the request names it
  std::optional<uint64_t> partition;    // nothing: sessions
  StoredAmount amount;
};
// Nothing of what adds none, removes, or only reads.
std::optional<Addition> AdditionOf(const v1::InsertRequest& request);
std::optional<Addition> AdditionOf(const v1::RememberRequest& request);
std::optional<Addition> AdditionOf(const v1::ApplyRequest& request);
std::optional<Addition> AdditionOf(const v1::ForkSessionRequest& request);
std::optional<Addition> AdditionOf(const v1::PutSessionRequest& request);
template <typename Request>
std::optional<Addition> AdditionOf(const Request&) {
  return std::nullopt;
}

}  // namespace mneme

#endif  // MNEME_SERVER_ACCESS_TARGETS_H_
