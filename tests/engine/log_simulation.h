// LogSimulation: replicas of one shard over one log, clients that write and read through several front ends, and what
// happens to them all: retries, lost acknowledgements, crashes, replicas that fall behind, clocks that differ. What
// happens is a function of the seed: which records are one group of a writer, too, so that a seed that fails fails
// again. Time is virtual.
//
// Checked: what clients are told is what the model says (log_model.h); calls on registers are linearizable; reads with
// a token see as much; and in the end every replica holds the same as the one that never crashed and that applied one
// record after the other, which is what the model says.
#ifndef MNEME_TESTS_ENGINE_LOG_SIMULATION_H_
#define MNEME_TESTS_ENGINE_LOG_SIMULATION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "engine/expiry_sweep.h"
#include "engine/state_sweep.h"
#include "engine/sweep_log.h"
#include "tests/engine/log_calls.h"
#include "tests/engine/log_model.h"
#include "tests/engine/log_replica.h"
#include "tests/engine/memory_log.h"
#include "tests/engine/register_history.h"

namespace mneme::testing {

// What is wrong on purpose, so that it is known to be found: of replica 1, or of a front end.
enum class PlantedFault {
  kNone,
  kAppliedTwice,          // a record is handed over once more, at an offset that no record has
  kSkipped,               // a record is not handed over
  kStaleRead,             // reads do not wait for their token
  kLostTombstone,         // a row that goes stays in the store
  kReusedId,              // a shard opens with a row to give that it gave
  kRequestForgotten,      // a remembered request is not found
  kRefusedTakesNoPlace,   // a batch that only has a place is not stored
  kSweepByLocalClock,     // what expires is judged by the replica's clock
  kTornGroup,             // a crash leaves a batch without its place
  kOutcomeOfAnother,      // a front end asks what became of the record before its own
};

// Used once, by one thread.
class LogSimulation {
 public:
  // `directory`: for index files; several simulations may use it one after the other.
  LogSimulation(uint64_t seed, PlantedFault fault, const std::string& directory);


  // What is wrong; empty when nothing is.
  std::string Run();

 private:
  struct Replica {
    size_t number = 0;
    Journal journal;
    size_t synced = 0;  // steps of the journal that no crash takes
    size_t next = 0;    // of the records, to be handed over
    ManualClock clock{0};
    int64_t skew_ms = 0;
    std::mt19937_64 random;  // of its faults, on its own threads
    std::unique_ptr<LogReplica> running;
    std::unique_ptr<SweepLog> sweep_log;
    std::unique_ptr<ExpirySweep> rows;
    std::unique_ptr<StateSweep> states;
  };
  struct Asked {
    LogCall call;
    std::vector<std::pair<LogOffset, LogOffset>> told;  // where it is, and what the front end makes of that
    bool settled = false;
    int64_t first_ms = 0;  // when it was first asked
    std::optional<size_t> in_history;
  };

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  void Fail(const std::string& what);

  void Step();
  // Of a front end.
  int64_t FrontEndMs();
  void Ask();
  void Append(Asked& asked);
  void Poll(Asked& asked);
  void CheckOutcome(Asked& asked, LogOffset offset, const absl::StatusOr<WriteResult>& outcome, Replica& replica);
  void CheckRecalled(const Asked& asked, LogOffset offset, const absl::StatusOr<WriteResult>& outcome,
                     Replica& replica);
  void Settle(Asked& asked, const WriteResult& result);
  void ReadEntries();
  void ReadRegister();
  // The sequence of a marker; 0 when it was lost.
  Sequence Mark();
  void Sweep(Replica& replica);
  // What somebody chose who saw as much as that replica has applied.
  void Merge(const Replica& replica);

  // What the log has more of goes to the model.
  void Ingest();
  Replica& AnyReplica();
  void Open(Replica& replica);
  void Crash(Replica& replica);
  // `count` more records at most.
  void Advance(Replica& replica, size_t count);
  void AdvanceTo(Replica& replica, Sequence sequence);
  std::vector<LoggedBytes> Handed(Replica& replica, size_t begin, size_t end);
  StoreFaults FaultsOf(Replica& replica);

  void CheckEnd();
  void CheckModel(const EntryStore& store);
  void CheckPartitions(const EntryStore& store);
  void CheckSessions(const EntryStore& store);

  const uint64_t seed_;
  const PlantedFault fault_;
  const std::string directory_;
  std::mt19937_64 random_;
  std::string failure_;
  uint64_t step_ = 0;  // the time of the histories
  int64_t now_ms_ = 1'000'000'000;
  std::vector<int64_t> front_end_skews_;
  size_t delete_group_rows_ = 2;

  MemoryLog log_;
  std::unique_ptr<LogReader> reader_;
  std::vector<LoggedBytes> records_;
  std::map<LogOffset, size_t> index_of_;
  std::vector<ModelOutcome> outcomes_;                     // [records_]
  std::vector<std::shared_ptr<const LogModel>> moments_;   // after each record
  LogModel model_;

  std::vector<std::unique_ptr<Replica>> replicas_;  // the first never crashes and has no groups
  LogCalls calls_;
  std::vector<std::unique_ptr<Asked>> asked_;
  std::map<std::string, RegisterHistory> registers_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_LOG_SIMULATION_H_
