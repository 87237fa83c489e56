// ShardService and CatalogueService, between the processes of a deployment, as gRPC sees them.
#include "common/limits.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "server/append_stream.h"
#include "server/checkpoint_handlers.h"
#include "server/progress_stream.h"
#include "server/services.h"
#include "server/shard_backup_handlers.h"
#include "server/shard_handlers.h"
#include "server/unary_call.h"

namespace mneme {
namespace {

using internal::v1::Answer;
using internal::v1::Call;
using internal::v1::CatalogueService;
using internal::v1::ShardService;

template <typename Base>
using RawWrites = ShardService::WithRawCallbackMethod_Append<
    ShardService::WithRawCallbackMethod_AwaitOutcome<ShardService::WithRawCallbackMethod_GoOnPrune<Base>>>;
template <typename Base>
using RawStreams = ShardService::WithRawCallbackMethod_Visit<ShardService::WithRawCallbackMethod_ExportIndex<
    ShardService::WithRawCallbackMethod_BuildIndex<ShardService::WithRawCallbackMethod_Prune<Base>>>>;
template <typename Base>
using RawSearches = ShardService::WithRawCallbackMethod_Query<ShardService::WithRawCallbackMethod_Score<
    ShardService::WithRawCallbackMethod_SumByLabel<ShardService::WithRawCallbackMethod_ReadMatchRows<Base>>>>;
template <typename Base>
using RawReads = ShardService::WithRawCallbackMethod_Get<ShardService::WithRawCallbackMethod_Count<
    ShardService::WithRawCallbackMethod_CountStored<ShardService::WithRawCallbackMethod_Scan<
        ShardService::WithRawCallbackMethod_DryDelete<ShardService::WithRawCallbackMethod_Receipt<
            ShardService::WithRawCallbackMethod_ListReceipts<Base>>>>>>>;
template <typename Base>
using RawLeases = ShardService::WithRawCallbackMethod_AcquireLease<ShardService::WithRawCallbackMethod_RenewLease<
    ShardService::WithRawCallbackMethod_ReleaseLease<ShardService::WithRawCallbackMethod_Statistics<Base>>>>;
template <typename Base>
using RawStates = ShardService::WithRawCallbackMethod_ReadStates<
    ShardService::WithRawCallbackMethod_ReadSession<ShardService::WithRawCallbackMethod_ListSessions<Base>>>;

template <typename Base>
using RawReplicas =
    ShardService::WithRawCallbackMethod_DescribeReplica<ShardService::WithRawCallbackMethod_Digest<Base>>;
template <typename Base>
using RawCheckpoints = ShardService::WithRawCallbackMethod_OpenCheckpoint<
    ShardService::WithRawCallbackMethod_ReadCheckpoint<ShardService::WithRawCallbackMethod_CloseCheckpoint<Base>>>;

template <typename Base>
using RawBackups = ShardService::WithRawCallbackMethod_DescribeBackups<
    ShardService::WithRawCallbackMethod_TakeBackup<ShardService::WithRawCallbackMethod_WriteBackup<
        ShardService::WithRawCallbackMethod_RemoveBackup<Base>>>>;

constexpr char kShardService[] = "mneme.internal.v1.ShardService";
constexpr char kCatalogueService[] = "mneme.internal.v1.CatalogueService";
// Visits, and exports, that go on side by side: each waits for its reader most of the time.
constexpr size_t kVisitWorkers = 16;
constexpr size_t kExportWorkers = 16;
// Copies and digests that go on side by side, of the replicas of one shard and one who compares them: they share what
// may be read.
constexpr size_t kCheckpointWorkers = 4;
// One backup is made at a time; who asks for another is told so meanwhile.
constexpr size_t kBackupWorkers = 2;

using UnaryReactor = grpc::ServerUnaryReactor;
using WriteReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;
using Context = grpc::CallbackServerContext;
using Bytes = grpc::ByteBuffer;

class RawShardService final
    : public RawWrites<RawStreams<RawSearches<
          RawReads<RawLeases<RawStates<RawReplicas<RawCheckpoints<RawBackups<ShardService::Service>>>>>>>>> {
 public:
  explicit RawShardService(FrontEnd& front_end) : front_end_(front_end) {
    front_end_.AlsoCount(&score_pool_);
    front_end_.AlsoCount(&visit_pool_);
    front_end_.AlsoCount(&export_pool_);
    front_end_.AlsoCount(&release_pool_);
    front_end_.AlsoCount(&checkpoint_pool_);
    front_end_.AlsoCount(&backup_pool_);
  }

  WriteReactor* Append(Context* context, const Bytes* in) override {
    return AppendStream::Start(front_end_, append_, context, in);
  }
  UnaryReactor* AwaitOutcome(Context* context, const Bytes* in, Bytes* out) override {
    return StartUnary<Call, Answer>(front_end_, outcome_, context, in, out, HandleAwaitOutcome);
  }
  UnaryReactor* Query(Context* context, const Bytes* in, Bytes* out) override {
    return StartUnary<Call, Answer>(front_end_, query_, context, in, out, HandleShardQuery);
  }
  UnaryReactor* Score(Context* context, const Bytes* in, Bytes* out) override {
    return StartBlocking<Call, Answer>(front_end_, score_, context, in, out, HandleScore, score_pool_);
  }
  UnaryReactor* Get(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(get_, context, in, out, HandleShardGet);
  }
  WriteReactor* Visit(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, visit_pool_, visit_, context, in, HandleVisit, Pace::kEach);
  }
  WriteReactor* ExportIndex(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, export_pool_, export_, context, in, HandleShardExport,
                                               Pace::kEach);
  }
  UnaryReactor* Count(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(count_, context, in, out, HandleShardCount);
  }
  UnaryReactor* CountStored(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(stored_, context, in, out, HandleShardStored);
  }
  UnaryReactor* SumByLabel(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(sums_, context, in, out, HandleSumByLabel);
  }
  UnaryReactor* ReadMatchRows(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(match_, context, in, out, HandleReadMatchRows);
  }
  UnaryReactor* Scan(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(scan_, context, in, out, HandleShardScan);
  }
  UnaryReactor* DryDelete(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(dry_delete_, context, in, out, HandleDryDelete);
  }
  UnaryReactor* Receipt(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(receipt_, context, in, out, HandleShardReceipt);
  }
  UnaryReactor* ListReceipts(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(receipts_, context, in, out, HandleShardReceipts);
  }
  UnaryReactor* AcquireLease(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(acquire_, context, in, out, HandleShardAcquire);
  }
  UnaryReactor* RenewLease(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(renew_, context, in, out, HandleShardRenew);
  }
  UnaryReactor* ReleaseLease(Context* context, const Bytes* in, Bytes* out) override {
    return StartBlocking<Call, Answer>(front_end_, release_, context, in, out, HandleShardRelease, release_pool_);
  }
  UnaryReactor* ReadStates(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(states_, context, in, out, HandleReadStates);
  }
  UnaryReactor* ReadSession(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(session_, context, in, out, HandleReadSession);
  }
  UnaryReactor* ListSessions(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(sessions_, context, in, out, HandleShardSessions);
  }
  UnaryReactor* Statistics(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(statistics_, context, in, out, HandleShardStatistics);
  }
  WriteReactor* BuildIndex(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, front_end_.long_calls(), build_, context, in,
                                               HandleShardBuild);
  }
  WriteReactor* Prune(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, front_end_.long_calls(), prune_, context, in,
                                               HandleShardPrune, Pace::kEach);
  }
  UnaryReactor* GoOnPrune(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(go_on_, context, in, out, HandleGoOnPrune);
  }
  UnaryReactor* DescribeReplica(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(describe_, context, in, out, HandleDescribeReplica);
  }
  WriteReactor* Digest(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, checkpoint_pool_, digest_, context, in, HandleDigest);
  }
  WriteReactor* OpenCheckpoint(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, checkpoint_pool_, open_checkpoint_, context, in,
                                               HandleOpenCheckpoint);
  }
  WriteReactor* ReadCheckpoint(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, checkpoint_pool_, read_checkpoint_, context, in,
                                               HandleReadCheckpoint, Pace::kEach);
  }
  UnaryReactor* CloseCheckpoint(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(close_checkpoint_, context, in, out, HandleCloseCheckpoint);
  }
  UnaryReactor* DescribeBackups(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(describe_backups_, context, in, out, HandleDescribeBackups);
  }
  WriteReactor* TakeBackup(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, backup_pool_, take_backup_, context, in, HandleTakeBackup);
  }
  WriteReactor* WriteBackup(Context* context, const Bytes* in) override {
    return ProgressStream<Call, Answer>::Start(front_end_, backup_pool_, write_backup_, context, in,
                                               HandleWriteBackup);
  }
  UnaryReactor* RemoveBackup(Context* context, const Bytes* in, Bytes* out) override {
    return Blocking(remove_backup_, context, in, out, HandleRemoveBackup);
  }

 private:
  UnaryReactor* Blocking(const RpcMethod& method, Context* context, const Bytes* in, Bytes* out,
                         BlockingHandler<Call, Answer> handler) {
    return StartBlocking<Call, Answer>(front_end_, method, context, in, out, handler, front_end_.calls());
  }
  RpcMethod Add(const char* name, const char* type = "unary") {
    return MakeMethod(front_end_, kShardService, name, type);
  }

  FrontEnd& front_end_;
  // A score is a step of a query, and a visit or an export lasts as long as its reader takes: none waits for another,
  // nor for calls of other kinds.
  CallPool score_pool_{limits::kCallWorkers, limits::kMaxQueuedSearches};
  CallPool visit_pool_{kVisitWorkers, limits::kMaxQueuedCalls};
  CallPool export_pool_{kExportWorkers, limits::kMaxQueuedCalls};
  // The end of a lease waits for nothing: it is not refused where other calls are, and then held until it runs out.
  CallPool release_pool_{1, limits::kMaxQueuedCalls};
  CallPool checkpoint_pool_{kCheckpointWorkers, limits::kMaxQueuedLongCalls};
  CallPool backup_pool_{kBackupWorkers, limits::kMaxQueuedLongCalls};
  const RpcMethod append_ = Add("Append", "server_stream");
  const RpcMethod outcome_ = Add("AwaitOutcome");
  const RpcMethod query_ = Add("Query");
  const RpcMethod score_ = Add("Score");
  const RpcMethod get_ = Add("Get");
  const RpcMethod visit_ = Add("Visit", "server_stream");
  const RpcMethod export_ = Add("ExportIndex", "server_stream");
  const RpcMethod count_ = Add("Count");
  const RpcMethod stored_ = Add("CountStored");
  const RpcMethod sums_ = Add("SumByLabel");
  const RpcMethod match_ = Add("ReadMatchRows");
  const RpcMethod scan_ = Add("Scan");
  const RpcMethod dry_delete_ = Add("DryDelete");
  const RpcMethod receipt_ = Add("Receipt");
  const RpcMethod receipts_ = Add("ListReceipts");
  const RpcMethod acquire_ = Add("AcquireLease");
  const RpcMethod renew_ = Add("RenewLease");
  const RpcMethod release_ = Add("ReleaseLease");
  const RpcMethod states_ = Add("ReadStates");
  const RpcMethod session_ = Add("ReadSession");
  const RpcMethod sessions_ = Add("ListSessions");
  const RpcMethod statistics_ = Add("Statistics");
  const RpcMethod build_ = Add("BuildIndex", "server_stream");
  const RpcMethod prune_ = Add("Prune", "server_stream");
  const RpcMethod go_on_ = Add("GoOnPrune");
  const RpcMethod describe_ = Add("DescribeReplica");
  const RpcMethod digest_ = Add("Digest", "server_stream");
  const RpcMethod open_checkpoint_ = Add("OpenCheckpoint", "server_stream");
  const RpcMethod read_checkpoint_ = Add("ReadCheckpoint", "server_stream");
  const RpcMethod close_checkpoint_ = Add("CloseCheckpoint");
  const RpcMethod describe_backups_ = Add("DescribeBackups");
  const RpcMethod take_backup_ = Add("TakeBackup", "server_stream");
  const RpcMethod write_backup_ = Add("WriteBackup", "server_stream");
  const RpcMethod remove_backup_ = Add("RemoveBackup");
};

template <typename Base>
using RawTellers = CatalogueService::WithRawCallbackMethod_Confirm<
    CatalogueService::WithRawCallbackMethod_Promise<CatalogueService::WithRawCallbackMethod_Snapshot<Base>>>;
using RawCatalogue =
    CatalogueService::WithRawCallbackMethod_Watch<
        CatalogueService::WithRawCallbackMethod_Change<RawTellers<CatalogueService::Service>>>;

class RawCatalogueService final : public RawCatalogue {
 public:
  explicit RawCatalogueService(FrontEnd& front_end) : front_end_(front_end) {
    front_end_.AlsoCount(&change_pool_);
    front_end_.AlsoCount(&confirm_pool_);
    front_end_.AlsoCount(&promise_pool_);
  }

  UnaryReactor* Watch(Context* context, const Bytes* in, Bytes* out) override {
    return StartUnary<internal::v1::WatchRequest, internal::v1::WatchAnswer>(front_end_, watch_, context, in, out,
                                                                             HandleWatch);
  }
  UnaryReactor* Change(Context* context, const Bytes* in, Bytes* out) override {
    return StartBlocking<Call, Answer>(front_end_, change_, context, in, out, HandleChange, change_pool_);
  }
  UnaryReactor* Confirm(Context* context, const Bytes* in, Bytes* out) override {
    return StartBlocking<Call, Answer>(front_end_, confirm_, context, in, out, HandleConfirm, confirm_pool_);
  }
  UnaryReactor* Promise(Context* context, const Bytes* in, Bytes* out) override {
    return StartBlocking<Call, Answer>(front_end_, promise_, context, in, out, HandlePromise, promise_pool_);
  }
  UnaryReactor* Snapshot(Context* context, const Bytes* in, Bytes* out) override {
    return StartBlocking<Call, Answer>(front_end_, snapshot_, context, in, out, HandleSnapshot, promise_pool_);
  }

 private:
  RpcMethod Add(const char* name) {
    return MakeMethod(front_end_, kCatalogueService, name, "unary");
  }

  FrontEnd& front_end_;
  CallPool change_pool_{limits::kCallWorkers, limits::kMaxQueuedCalls};  // each waits for all watchers
  // Two replicas whose changes wait for each other's confirmation must not be without a thread for it; and what waits
  // for nobody is not to wait for those that do.
  CallPool confirm_pool_{limits::kCallWorkers, limits::kMaxQueuedCalls};
  CallPool promise_pool_{1, limits::kMaxQueuedCalls};
  const RpcMethod watch_ = Add("Watch");
  const RpcMethod change_ = Add("Change");
  const RpcMethod confirm_ = Add("Confirm");
  const RpcMethod promise_ = Add("Promise");
  const RpcMethod snapshot_ = Add("Snapshot");
};

}  // namespace

std::unique_ptr<grpc::Service> MakeShardService(FrontEnd& front_end) {
  return std::make_unique<RawShardService>(front_end);
}

std::unique_ptr<grpc::Service> MakeCatalogueService(FrontEnd& front_end) {
  return std::make_unique<RawCatalogueService>(front_end);
}

}  // namespace mneme
