// QueryStreamCall: the decode loop, predict and then learn, in one round trip per step.
//
// One step at a time, in the order of arrival:
// 1. parse and complete the message from the template;
// 2. query, and write the response (with what has been acknowledged so far);
// 3. submit the append; the next step begins when it is visible, before it is durable.
// After a half-close the stream waits for all acknowledgements and tells them in a last response. An append or a step
// that fails ends the stream with its status.
#ifndef MNEME_SERVER_QUERY_STREAM_H_
#define MNEME_SERVER_QUERY_STREAM_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "mneme/v1/memory.pb.h"
#include "server/call_record.h"
#include "server/query_plan.h"
#include "server/step_append.h"
#include "server/step_names.h"
#include "server/step_template.h"

namespace mneme {

// Keeps itself alive until OnDone() and for as long as the deployment holds a callback of it. Thread-safe: every event
// changes the state under the mutex and then calls Pump(), which does the one thing that is due, outside of it.
class QueryStreamCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                          public DrainListener,
                          public std::enable_shared_from_this<QueryStreamCall> {
 public:
  static QueryStreamCall* Start(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  QueryStreamCall(FrontEnd& front_end, const RpcMethod& method, grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnDrain() override;

 private:
  enum class Phase {
    kIdle,       // between steps
    kQuerying,   // a step runs
    kAnswered,   // its response waits for the writer
    kAppending,  // its append is not visible yet
  };
  enum class Action { kNothing, kRunStep, kRespond, kRespondLast, kFinish };
  // An append that is not acknowledged yet.
  struct PendingAppend {
    uint64_t serial = 0;
    uint64_t step = 0;
    bool acknowledged = false;
    StoredQuotas::Ticket ticket = {};  // until then
  };

  void Pump();
  Action NextAction() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Action NextWhenIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Perform(Action action);
  void MaybeRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The first failure decides the status.
  void Fail(const absl::Status& status);

  // Steps of a step. It begins on a worker where what is stored may have to be asked of shards.
  void BeginStep();
  void LeaveWorker() ABSL_LOCKS_EXCLUDED(mutex_);
  void RunStep();
  absl::Status Receive(size_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a message whose query was completed.
  absl::Status Authorize() ABSL_LOCKS_EXCLUDED(mutex_);
  // Of an append, where what the caller writes is held against what is stored; may block.
  absl::Status AdmitStored() ABSL_LOCKS_EXCLUDED(mutex_);
  // How many entries the message writes.
  size_t AppendedEntries() const;
  // Anew when a memory was dropped under it.
  absl::Status Ask();
  absl::StatusOr<MemoryHandle> FindAppended(const v1::QueryRequest& query, const QueryPlan& plan) const;
  // NOT_FOUND when another memory has a name that the stream goes on with.
  absl::Status CheckSameMemories(const MemoryHandle& appended, const QueryPlan& plan) const;
  absl::Status Answer(const MemoryHandle& appended, QueryPlan& plan, AlignedBuffer rows);
  void Advance(Phase phase);
  void Respond();
  void RespondLast();
  absl::Status SubmitAppend();

  void FillAcknowledged(v1::QueryStreamResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnVisible(uint64_t serial, const MemoryHandle& memory);
  void OnAcknowledged(uint64_t serial, const MemoryHandle& memory, const absl::StatusOr<InsertOutcome>& outcome);

  // Constant after construction.
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  const CallLimits limits_;
  Deployment* deployment_ = nullptr;

  // Owned by the step that runs, which is one at a time.
  grpc::ByteBuffer message_;
  v1::QueryStreamRequest request_;
  v1::QueryStreamResponse response_;
  StepTemplate template_;
  StepNames names_;
  bool goes_on_ = false;  // with what an earlier message named
  int times_anew_ = 0;
  MemoryHandle appended_;  // where appends go; null before the first step, and where there is none
  std::vector<MemoryNumber> sources_;  // of a mixture, whatever has their names by now
  std::shared_ptr<const AnsweredQuery> last_;
  std::shared_ptr<const AnsweredQuery> previous_;
  StoredQuotas::Ticket step_ticket_;  // of its append
  BenefitCount step_benefit_;
  bool step_of_mixture_ = false;  // so that its benefit is no one memory's

  absl::Mutex mutex_;
  CallRecord record_ ABSL_GUARDED_BY(mutex_);
  HeldAnswers::Share held_;  // the writer's, while writing_
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kIdle;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // not OK: the stream ends with it
  // Steps that workers began and are not done with: the call does not end before, since the deployment outlives calls
  // alone. A step may be answered, and the next begin, while the worker of the first is on its way out.
  int on_workers_ ABSL_GUARDED_BY(mutex_) = 0;
  grpc::ByteBuffer incoming_;  // the reader's, while reading_
  grpc::ByteBuffer outgoing_;  // the writer's, while writing_
  std::deque<grpc::ByteBuffer> waiting_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;

  uint64_t serial_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last append
  uint64_t visible_serial_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last append that the next step may see
  std::deque<PendingAppend> pending_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_step_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t acknowledged_step_ ABSL_GUARDED_BY(mutex_) = 0;
  bool acknowledged_untold_ ABSL_GUARDED_BY(mutex_) = false;
  Version version_ ABSL_GUARDED_BY(mutex_);
  BenefitCount benefit_ ABSL_GUARDED_BY(mutex_);

  std::shared_ptr<QueryStreamCall> self_;  // until OnDone()
};

}  // namespace mneme

#endif  // MNEME_SERVER_QUERY_STREAM_H_
