#include "tests/engine/index_life.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <future>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "common/index_choice.h"
#include "common/status_macros.h"
#include "index/kernels/exact_distance.h"

namespace mneme::testing {
namespace {

constexpr uint32_t kDimension = 4;
constexpr PartitionId kPartitions = 2;
constexpr EntryId kIds = 250;
constexpr uint64_t kSources = 6;
// A few dozen rows have an index, so that a short sequence seals, merges, compacts and retrains many times.
constexpr IndexThresholds kThresholds{.flat_rows = 60, .seal_rows = 90, .min_indexed_rows = 32};

// Fewer neighbours of approximate answers say nothing about how many of them are right.
constexpr uint64_t kMinWanted = 500;

template <typename... Parts>
absl::Status Differs(const Parts&... parts) {
  return absl::InternalError(absl::StrCat(parts...));
}

}  // namespace

const char* NameOf(LifeStep step) {
  switch (step) {
    case LifeStep::kInsert: return "insert";
    case LifeStep::kDeleteIds: return "delete ids";
    case LifeStep::kDeleteSource: return "delete source";
    case LifeStep::kDropPartition: return "drop partition";
    case LifeStep::kSeal: return "seal";
    case LifeStep::kRetrain: return "retrain";
    case LifeStep::kRestart: return "restart";
    case LifeStep::kKill: return "kill";
    case LifeStep::kCheck: return "check";
  }
  return "";
}

void showValue(const LifeOperation& operation, std::ostream& out) {
  out << NameOf(operation.step) << " " << operation.number;
}

struct IndexLife::Ranked {
  double score;
  EntryId id;
  PartitionId partition;
  Token token;

  friend bool operator==(const Ranked&, const Ranked&) = default;
  // The order of I4.
  friend bool operator<(const Ranked& a, const Ranked& b) {
    return std::tuple(-a.score, a.id, a.partition) < std::tuple(-b.score, b.id, b.partition);
  }
};

struct IndexLife::Change {
  PartitionId partition = 0;
  std::vector<PlainEntry> put;
  std::vector<EntryId> removed;
  std::optional<uint64_t> removed_source;  // of all partitions
  bool dropped = false;                    // the whole partition
};

IndexLife::IndexLife(std::string directory, std::string name, const LifeKind& kind)
    : directory_(std::move(directory)), kind_(kind), spec_(TokenMemory(name, kDimension, kind.metric)) {
  spec_.key_dtype = kind.dtype;
  spec_.index = ParseIndexChoice(kLifeCodecs[kind.codec].index, kDimension).value();
}

absl::Status IndexLife::Open() {
  deployment_.reset();
  auto opened = LocalDeployment::Open(
      {.data_dir = directory_, .shards = 1, .search_threads = 1, .thresholds = kThresholds, .clock = &clock_});
  RETURN_IF_ERROR(opened.status());
  deployment_ = *std::move(opened);
  auto memory = deployment_->FindMemory(spec_.name);
  if (absl::IsNotFound(memory.status())) memory = deployment_->CreateMemory(spec_);
  RETURN_IF_ERROR(memory.status());
  memory_ = *std::move(memory);
  return absl::OkStatus();
}

absl::Status IndexLife::Drop() { return deployment_->DropMemory(spec_.name); }

PlainEntry IndexLife::RandomEntry(std::mt19937& random) const {
  PlainEntry entry;
  entry.id = random() % kIds;
  // Few different keys: ties are common. Halves hold them as they are.
  for (uint32_t i = 0; i < kDimension; ++i) entry.key.push_back(static_cast<float>(random() % 9) - 4.0F);
  entry.key[0] += 0.5F;  // never the zero vector, which cosine refuses
  entry.token = random() % 1000;
  entry.attributes.source = random() % kSources;
  return entry;
}

IndexLife::Change IndexLife::ChangeOf(const LifeOperation& operation) const {
  std::mt19937 random(operation.number);
  Change change;
  change.partition = random() % kPartitions;
  switch (operation.step) {
    case LifeStep::kInsert:
      change.put.resize(1 + random() % 24);
      for (PlainEntry& entry : change.put) entry = RandomEntry(random);
      break;
    case LifeStep::kDeleteIds:
      for (size_t i = 0, count = 1 + random() % 40; i < count; ++i) change.removed.push_back(random() % kIds);
      break;
    case LifeStep::kDeleteSource: change.removed_source = random() % kSources; break;
    case LifeStep::kDropPartition: change.dropped = true; break;
    case LifeStep::kSeal:
    case LifeStep::kRetrain:
    case LifeStep::kRestart:
    case LifeStep::kKill:
    case LifeStep::kCheck: break;
  }
  return change;
}

void IndexLife::Apply(const Change& change) {
  for (const PlainEntry& entry : change.put) twin_[{change.partition, entry.id}] = entry;
  for (const EntryId id : change.removed) twin_.erase({change.partition, id});
  std::erase_if(twin_, [&](const auto& entry) {
    const bool of_source = change.removed_source && entry.second.attributes.source == *change.removed_source;
    return of_source || (change.dropped && entry.first.first == change.partition);
  });
}

void IndexLife::Learn(const LifeOperation& operation) { Apply(ChangeOf(operation)); }

absl::Status IndexLife::Do(const LifeOperation& operation) {
  const Change change = ChangeOf(operation);
  const size_t before = twin_.size();
  Apply(change);
  DeleteCommand erase;
  erase.partitions.partitions = {change.partition};
  switch (operation.step) {
    case LifeStep::kInsert: {
      std::promise<absl::Status> done;
      deployment_->Insert(
          memory_,
          {.partition = change.partition, .entries = ColumnsOf(spec_, change.put),
           .request_id = "",
           .durability = Durability::kWritten},
          nullptr, [&](const absl::StatusOr<InsertOutcome>& outcome) { done.set_value(outcome.status()); });
      return done.get_future().get();
    }
    case LifeStep::kDeleteIds:
      erase.ids = change.removed;
      return Delete(std::move(erase), before - twin_.size());
    case LifeStep::kDeleteSource:
      erase.partitions = {.partitions = {}, .all = true};
      erase.filter = RowFilter{};
      erase.filter->sources = std::vector<uint64_t>{*change.removed_source};
      return Delete(std::move(erase), before - twin_.size());
    case LifeStep::kDropPartition:
      erase.everything = true;
      return Delete(std::move(erase), before - twin_.size());
    case LifeStep::kSeal: return Build(false);
    case LifeStep::kRetrain: return Build(true);
    case LifeStep::kRestart: return Open();
    case LifeStep::kKill: return absl::OkStatus();
    case LifeStep::kCheck: return Check(operation.number);
  }
  return absl::OkStatus();
}

absl::Status IndexLife::Build(bool retrain) {
  return deployment_->BuildIndex(memory_, retrain, [](const BuildProgress&) { return true; });
}

absl::Status IndexLife::Delete(DeleteCommand command, uint64_t expected) {
  command.durability = Durability::kWritten;
  std::promise<absl::StatusOr<DeleteOutcome>> done;
  deployment_->Delete(memory_, std::move(command),
                      [&](absl::StatusOr<DeleteOutcome> outcome) { done.set_value(std::move(outcome)); });
  ASSIGN_OR_RETURN(const DeleteOutcome outcome, done.get_future().get());
  if (outcome.deleted != expected) return Differs("deleted ", outcome.deleted, "; the twin deleted ", expected);
  return absl::OkStatus();
}

std::vector<IndexLife::Ranked> IndexLife::Brute(const std::vector<float>& query, const PartitionSelection& selection,
                                                const RowFilter& filter) const {
  std::vector<Ranked> all;
  std::string key(spec_.KeyBytes(), '\0');
  for (const auto& [at, entry] : twin_) {
    if (!selection.all && at.first != selection.partitions.front()) continue;
    if (!filter.Accepts(entry.id, entry.attributes)) continue;
    EncodeVector(spec_.key_dtype, entry.key.data(), kDimension, key.data());
    const double score = ExactScoreScalar({spec_.metric, spec_.key_dtype, kDimension}, query.data(), key.data());
    all.push_back({score, at.second, at.first, entry.token});
  }
  std::sort(all.begin(), all.end());
  return all;
}

// `same`: the answer is the k best of `live`; else any k of them in order.
absl::Status IndexLife::Compare(const QueryOutcome& outcome, const std::vector<Ranked>& live, uint32_t k,
                                bool same) const {
  const NeighbourColumns& found = outcome.neighbours;
  const size_t expected = std::min<size_t>(k, live.size());
  if (found.size() != expected) return Differs("found ", found.size(), "; the twin finds ", expected);
  for (size_t i = 0; i < found.size(); ++i) {
    Ranked one{found.scores[i], found.ids[i], found.partitions[i], 0};
    std::memcpy(&one.token, found.values.At(i).data(), sizeof(one.token));
    if (same && one != live[i]) {
      return Differs("rank ", i, " is id ", one.id, " score ", one.score, "; the twin has id ", live[i].id, " score ",
                     live[i].score);
    }
    const auto at = std::lower_bound(live.begin(), live.end(), one);
    if (at == live.end() || *at != one) return Differs("id ", one.id, " of rank ", i, " is dead or has another score");
    const bool ordered = i == 0 || std::tuple(-found.scores[i - 1], found.ids[i - 1], found.partitions[i - 1]) <
                                       std::tuple(-one.score, one.id, one.partition);
    if (!ordered) return Differs("rank ", i, " is out of order or repeated");
  }
  return absl::OkStatus();
}

absl::Status IndexLife::CheckSelection(std::mt19937& random, const PartitionSelection& selection,
                                       const RowFilter& filter) {
  const std::vector<float> query = RandomEntry(random).key;
  const std::vector<Ranked> live = Brute(query, selection, filter);
  const uint32_t k = 1 + random() % (random() % 4 == 0 ? 400 : 20);
  struct Way {
    const char* name;
    bool exact;
    uint32_t probes;
    bool same;
  };
  const bool certain = kLifeCodecs[kind_.codec].agreement == 1.0;
  const Way ways[] = {{"exact", true, 0, true},
                      {"all lists", false, limits::kMaxProbes, certain},
                      {"one list", false, 1, false}};
  for (const Way& way : ways) {
    QueryCommand command = ExactQuery(query, 1, k);
    command.exact = way.exact;
    command.probes = way.probes;
    command.partitions = selection;
    command.filter = filter;
    std::promise<absl::StatusOr<QueryOutcome>> done;
    deployment_->Query(memory_, std::move(command),
                       [&](absl::StatusOr<QueryOutcome> outcome) { done.set_value(std::move(outcome)); });
    ASSIGN_OR_RETURN(const QueryOutcome outcome, done.get_future().get());
    const absl::Status same = Compare(outcome, live, k, way.same);
    if (way.probes == limits::kMaxProbes) CountAgreement(outcome, live);
    if (!same.ok()) return Differs("k = ", k, ", ", way.name, ": ", same.message());
  }
  ASSIGN_OR_RETURN(const uint64_t count, deployment_->Count(memory_, {.partitions = selection, .filter = filter}));
  if (count != live.size()) return Differs("counts ", count, "; the twin counts ", live.size());
  return absl::OkStatus();
}

void IndexLife::CountAgreement(const QueryOutcome& outcome, const std::vector<Ranked>& live) {
  const std::vector<double>& scores = outcome.neighbours.scores;  // descending, as those of `live`
  size_t best = 0;
  for (size_t i = 0; i < scores.size() && best < scores.size(); ++best) {
    if (scores[i] != live[best].score) continue;
    ++agreed_;
    ++i;
  }
  wanted_ += scores.size();
}

absl::Status IndexLife::CheckAgreement() const {
  const double agreement = kLifeCodecs[kind_.codec].agreement;
  const bool enough = static_cast<double>(agreed_) >= agreement * static_cast<double>(wanted_);
  if (enough || wanted_ < kMinWanted) return absl::OkStatus();
  return Differs(agreed_, " of ", wanted_, " neighbours are those of the exact answer; must be ", agreement,
                 " of them");
}

absl::Status IndexLife::Check(uint32_t number) {
  std::mt19937 random(number);
  RowFilter of_source;
  of_source.sources = std::vector<uint64_t>{random() % kSources};
  RETURN_IF_ERROR(CheckSelection(random, {.partitions = {}, .all = true}, {}));
  RETURN_IF_ERROR(CheckSelection(random, {.partitions = {random() % kPartitions}}, {}));
  RETURN_IF_ERROR(CheckSelection(random, {.partitions = {random() % kPartitions}}, of_source));
  ASSIGN_OR_RETURN(const MemoryStatistics statistics, deployment_->Statistics(memory_));
  if (statistics.entries != twin_.size()) {
    return Differs("holds ", statistics.entries, " entries; the twin holds ", twin_.size());
  }
  return absl::OkStatus();
}

absl::Status RunInProcess(const std::function<absl::Status()>& body) {
  int ends[2];
  if (::pipe(ends) != 0) return absl::ErrnoToStatus(errno, "pipe");
  const pid_t child = ::fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "fork");
  if (child == 0) {
    ::close(ends[0]);
    const absl::Status status = body();
    const std::string said(status.message().data(), status.message().size());
    const bool told = ::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
    ::_exit(status.ok() && told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said;
  char piece[512];
  for (ssize_t got; (got = ::read(ends[0], piece, sizeof(piece))) > 0;) said.append(piece, static_cast<size_t>(got));
  ::close(ends[0]);
  int ended = 0;
  if (::waitpid(child, &ended, 0) != child) return absl::ErrnoToStatus(errno, "waitpid");
  if (WIFSIGNALED(ended)) return absl::AbortedError(absl::StrCat("ended by signal ", WTERMSIG(ended)));
  return WEXITSTATUS(ended) == 0 ? absl::OkStatus() : absl::InternalError(said);
}

void KillThisProcess() {
  ::kill(::getpid(), SIGKILL);
  std::abort();
}

}  // namespace mneme::testing
