#include "security/access_rules.h"

namespace mneme {
namespace {

constexpr std::string_view kMemory = "mneme.v1.MemoryService";
constexpr std::string_view kWorking = "mneme.v1.WorkingMemoryService";
constexpr std::string_view kAdmin = "mneme.v1.AdminService";
constexpr std::string_view kShard = "mneme.internal.v1.ShardService";
constexpr std::string_view kCatalogue = "mneme.internal.v1.CatalogueService";

constexpr RpcRule kRules[] = {
    {kMemory, "Insert", Need::kWrite},
    {kMemory, "InsertStream", Need::kWrite},
    {kMemory, "Remember", Need::kRead},  // write where it learns
    {kMemory, "Delete", Need::kWrite},
    {kMemory, "GetReceipt", Need::kRead},
    {kMemory, "ListReceipts", Need::kRead},
    {kMemory, "Get", Need::kRead},
    {kMemory, "Scan", Need::kRead},
    {kMemory, "Count", Need::kRead},
    {kMemory, "Query", Need::kRead},
    {kMemory, "QueryStream", Need::kRead},  // write where it appends
    {kMemory, "AcquireLease", Need::kRead},
    // A lease's handle cannot be guessed, and names no memory.
    {kMemory, "RenewLease", Need::kKnown},
    {kMemory, "ReleaseLease", Need::kKnown},
    {kWorking, "Apply", Need::kRead},  // write where an operation does
    {kWorking, "ResetSessions", Need::kWrite},
    {kWorking, "MaskTokens", Need::kRead},
    {kWorking, "ForkSession", Need::kWrite},
    {kWorking, "GetSession", Need::kRead},
    {kWorking, "PutSession", Need::kWrite},
    {kWorking, "ListSessions", Need::kRead},
    {kAdmin, "CreateMemory", Need::kAdmin},
    {kAdmin, "GetMemory", Need::kRead},
    {kAdmin, "ListMemories", Need::kKnown},
    {kAdmin, "DropMemory", Need::kAdmin},
    {kAdmin, "SetAlias", Need::kAdmin},
    {kAdmin, "DropAlias", Need::kAdmin},
    {kAdmin, "ListAliases", Need::kKnown},
    {kAdmin, "BuildIndex", Need::kAdmin},
    {kAdmin, "ExportIndex", Need::kRead},
    {kAdmin, "GetStatistics", Need::kRead},
    {kAdmin, "ProbeRecall", Need::kRead},
    {kAdmin, "PruneMemory", Need::kAdmin},
    {kAdmin, "CreateBackup", Need::kAdmin},
    {kAdmin, "ListBackups", Need::kAdmin},
    {kAdmin, "ShowCluster", Need::kAdmin},
    {kAdmin, "ChangeReplicas", Need::kAdmin},
    {kAdmin, "Ping", Need::kKnown},
    {kShard, "Append", Need::kPeer},
    {kShard, "AwaitOutcome", Need::kPeer},
    {kShard, "Query", Need::kPeer},
    {kShard, "Score", Need::kPeer},
    {kShard, "Get", Need::kPeer},
    {kShard, "Visit", Need::kPeer},
    {kShard, "Count", Need::kPeer},
    {kShard, "CountStored", Need::kPeer},
    {kShard, "SumByLabel", Need::kPeer},
    {kShard, "ReadMatchRows", Need::kPeer},
    {kShard, "Scan", Need::kPeer},
    {kShard, "DryDelete", Need::kPeer},
    {kShard, "Receipt", Need::kPeer},
    {kShard, "ListReceipts", Need::kPeer},
    {kShard, "AcquireLease", Need::kPeer},
    {kShard, "RenewLease", Need::kPeer},
    {kShard, "ReleaseLease", Need::kPeer},
    {kShard, "ReadStates", Need::kPeer},
    {kShard, "ReadSession", Need::kPeer},
    {kShard, "ListSessions", Need::kPeer},
    {kShard, "Statistics", Need::kPeer},
    {kShard, "BuildIndex", Need::kPeer},
    {kShard, "ExportIndex", Need::kPeer},
    {kShard, "Prune", Need::kPeer},
    {kShard, "GoOnPrune", Need::kPeer},
    {kShard, "DescribeReplica", Need::kPeer},
    {kShard, "Digest", Need::kPeer},
    {kShard, "OpenCheckpoint", Need::kPeer},
    {kShard, "ReadCheckpoint", Need::kPeer},
    {kShard, "CloseCheckpoint", Need::kPeer},
    {kShard, "DescribeBackups", Need::kPeer},
    {kShard, "TakeBackup", Need::kPeer},
    {kShard, "WriteBackup", Need::kPeer},
    {kShard, "RemoveBackup", Need::kPeer},
    {kCatalogue, "Watch", Need::kPeer},
    {kCatalogue, "Change", Need::kPeer},
    {kCatalogue, "Confirm", Need::kPeer},
    {kCatalogue, "Promise", Need::kPeer},
    {kCatalogue, "Snapshot", Need::kPeer},
};

}  // namespace

absl::Span<const RpcRule> AccessRules() { return kRules; }

const RpcRule* FindRule(std::string_view service, std::string_view method) {
  for (const RpcRule& rule : kRules) {
    if (rule.service == service && rule.method == method) return &rule;
  }
  return nullptr;
}

}  // namespace mneme
