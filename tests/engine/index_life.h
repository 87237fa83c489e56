// IndexLife: one memory in a real deployment, beside a twin that is a map and a brute-force search. Operations follow
// from numbers, so that a process can learn what an earlier one, which was killed, had done.
#ifndef MNEME_TESTS_ENGINE_INDEX_LIFE_H_
#define MNEME_TESTS_ENGINE_INDEX_LIFE_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/local_deployment.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme::testing {

// How a memory of a test is indexed, and which part of the neighbours of its approximate answers over all lists must be
// those of the exact answers: all where the fast pass proves its bounds; codes estimate theirs, and say little of the
// few and alike keys of four components here.
struct LifeCodec {
  const char* index;
  double agreement;
};
// Every codec that a memory may choose.
inline constexpr LifeCodec kLifeCodecs[] = {
    {"IVF3,flat", 1.0},   {"IVF3,f16", 0.98},     {"IVF3,int8", 0.9},
    {"IVF3,pq:2x4", 0.7}, {"IVF3,rabitq:1", 0.7}, {"auto", 0.9},
    {"IVF3,pca:2", 0.7},  {"IVF3,opq:2x4", 0.7},
};

struct LifeKind {
  size_t codec = 0;  // of kLifeCodecs
  Metric metric = Metric::kL2;
  Dtype dtype = Dtype::kF32;
};

enum class LifeStep { kInsert, kDeleteIds, kDeleteSource, kDropPartition, kSeal, kRetrain, kRestart, kKill, kCheck };
const char* NameOf(LifeStep step);

struct LifeOperation {
  LifeStep step = LifeStep::kCheck;
  uint32_t number = 0;  // what is random in it
};

// How RapidCheck shows one.
void showValue(const LifeOperation& operation, std::ostream& out);

// Not thread-safe. Errors are INTERNAL and say what differs.
class IndexLife {
 public:
  // Its data is in `directory`, which other lives may have used before it; `name` is the memory's.
  IndexLife(std::string directory, std::string name, const LifeKind& kind);

  // Opens the deployment and creates the memory or finds it again.
  absl::Status Open();
  // Finishes what was begun.
  void Close() { deployment_.reset(); }
  // Only the twin does it.
  void Learn(const LifeOperation& operation);
  // The deployment does it, then the twin. kKill does nothing: it is the caller's.
  absl::Status Do(const LifeOperation& operation);
  // Compares every answer: exact, approximate over one list and all, filtered, of one partition and all; counts.
  absl::Status Check(uint32_t number);
  // Whether approximate answers over all lists agreed with the exact ones often enough, over all that was compared.
  absl::Status CheckAgreement() const;
  absl::Status Drop();
  Deployment& deployment() { return *deployment_; }

 private:
  using Key = std::pair<PartitionId, EntryId>;
  struct Ranked;

  struct Change;  // what an operation does to entries
  Change ChangeOf(const LifeOperation& operation) const;
  void Apply(const Change& change);
  absl::Status Build(bool retrain);
  absl::Status Delete(DeleteCommand command, uint64_t expected);
  PlainEntry RandomEntry(std::mt19937& random) const;
  std::vector<Ranked> Brute(const std::vector<float>& query, const PartitionSelection& selection,
                            const RowFilter& filter) const;
  absl::Status CheckSelection(std::mt19937& random, const PartitionSelection& selection, const RowFilter& filter);
  absl::Status Compare(const QueryOutcome& outcome, const std::vector<Ranked>& live, uint32_t k, bool same) const;
  void CountAgreement(const QueryOutcome& outcome, const std::vector<Ranked>& live);

  const std::string directory_;
  const LifeKind kind_;
  MemorySpec spec_;
  ManualClock clock_{1'000'000};
  std::unique_ptr<LocalDeployment> deployment_;
  MemoryHandle memory_;
  std::map<Key, PlainEntry> twin_;
  uint64_t wanted_ = 0;  // neighbours of approximate answers over all lists
  uint64_t agreed_ = 0;  // of them have a score of the exact answer
};

// Runs `body` in a process of its own. INTERNAL with the message of its status when that is not OK; ABORTED when a
// signal ended it. Call it while the calling process has one thread.
absl::Status RunInProcess(const std::function<absl::Status()>& body);
// Ends the process at once, as `kill -9` does.
[[noreturn]] void KillThisProcess();

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_INDEX_LIFE_H_
