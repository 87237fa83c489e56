// One lock for all the queries of a search, before it and after it: a search takes a thousand times as long.
#include "engine/answer_cache.h"

#include <cstring>
#include <list>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "common/aligned_buffer.h"
#include "common/checksum.h"
#include "common/mutex.h"
#include "common/status_macros.h"
#include "engine/neighbour_rows.h"

namespace mneme {
namespace {

using Versions = absl::Span<const std::shared_ptr<const IndexVersion>>;

// Keys that were asked once and are remembered as such: half a megabyte.
constexpr size_t kNoted = 65'536;
// Of a list node, a slot of the table and the allocations of an answer.
constexpr uint64_t kOverheadBytes = 512;

// What decides an answer beside version and key.
auto Parameters(const SearchRequest& request) {
  return std::tuple(request.k, request.exact, request.probes, request.recall_target, request.approximate_distances);
}

bool HasExpiries(const IndexVersion& version) {
  for (const auto& segment : version.segments) {
    if (segment->All().expiries_ms != nullptr) return true;
  }
  for (const auto& part : version.tail.parts) {
    if (BlockOf(part, version.tail_from).expiries_ms != nullptr) return true;
  }
  return false;
}

bool IsCacheable(Versions versions, const SearchRequest& request) {
  if (versions.size() != 1 || request.with_keys) return false;
  if (!request.exclude_ids.empty() || !request.exclude_sources.empty()) return false;
  if (request.filter != nullptr && !request.filter->AcceptsEverything()) return false;
  return !HasExpiries(*versions.front());
}

uint64_t BytesOf(const NeighbourColumns& rows) {
  const size_t each = sizeof(double) + sizeof(EntryId) + sizeof(PartitionId) + sizeof(float) + sizeof(int64_t) +
                      2 * sizeof(uint64_t);
  return rows.size() * each + rows.values.bytes.size() + rows.values.offsets.size() * sizeof(uint64_t);
}

template <typename T>
std::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

}  // namespace

struct AnswerCache::State {
  struct Answer {
    uint64_t hash = 0;
    std::weak_ptr<const IndexVersion> version;  // keeps its address from being another's
    decltype(Parameters(SearchRequest())) parameters;
    std::vector<float> key;
    NeighbourColumns rows;
    bool exact = false;
    uint64_t bytes = 0;
  };
  using Known = std::shared_ptr<const Answer>;
  using Answers = std::list<Known>;

  explicit State(uint64_t budget) : budget_bytes(budget), noted(budget == 0 ? 0 : kNoted, 0) {}

  const uint64_t budget_bytes;
  mutable Mutex mutex;
  Answers answers ABSL_GUARDED_BY(mutex);  // the most recently used first
  absl::flat_hash_map<uint64_t, Answers::iterator> by_hash ABSL_GUARDED_BY(mutex);
  std::vector<uint64_t> noted ABSL_GUARDED_BY(mutex);  // hashes of keys that were asked, each in its place
  Counts counts ABSL_GUARDED_BY(mutex);

  // The known answers of all queries; null where there is none. `wanted`: those that are to be kept.
  std::vector<Known> FindAll(const std::shared_ptr<const IndexVersion>& version, const SearchRequest& request,
                             const std::vector<uint64_t>& hashes, std::vector<bool>& wanted);
  void Keep(Known answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void Forget(Answers::iterator answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
};

namespace {

std::vector<uint64_t> HashesOf(const std::shared_ptr<const IndexVersion>& version, const SearchRequest& request) {
  const IndexVersion* address = version.get();
  uint64_t seed = Checksum64(BytesOf(address));
  std::apply([&seed](const auto&... each) { ((seed = Checksum64(BytesOf(each), seed)), ...); }, Parameters(request));
  std::vector<uint64_t> hashes(request.query_count);
  const size_t bytes = request.spec.dimension * sizeof(float);
  for (size_t q = 0; q < hashes.size(); ++q) {
    const float* key = request.queries + q * request.spec.dimension;
    hashes[q] = Checksum64({reinterpret_cast<const char*>(key), bytes}, seed);
  }
  return hashes;
}

bool SameVersion(const std::weak_ptr<const IndexVersion>& kept, const std::shared_ptr<const IndexVersion>& asked) {
  return !kept.owner_before(asked) && !asked.owner_before(kept);
}

}  // namespace

std::vector<AnswerCache::State::Known> AnswerCache::State::FindAll(const std::shared_ptr<const IndexVersion>& version,
                                                                   const SearchRequest& request,
                                                                   const std::vector<uint64_t>& hashes,
                                                                   std::vector<bool>& wanted) {
  const size_t d = request.spec.dimension;
  std::vector<Known> found(hashes.size());
  wanted.assign(hashes.size(), false);
  MutexLock lock(&mutex);
  counts.asked += hashes.size();
  for (size_t q = 0; q < hashes.size(); ++q) {
    const auto at = by_hash.find(hashes[q]);
    if (at == by_hash.end()) {
      uint64_t& place = noted[hashes[q] % noted.size()];
      wanted[q] = place == hashes[q];
      place = hashes[q];
      continue;
    }
    const Known& known = *at->second;
    if (!SameVersion(known->version, version) || known->parameters != Parameters(request) ||
        std::memcmp(known->key.data(), request.queries + q * d, d * sizeof(float)) != 0) {
      continue;  // another search of the same hash
    }
    answers.splice(answers.begin(), answers, at->second);
    found[q] = known;
    ++counts.answered;
  }
  return found;
}

void AnswerCache::State::Keep(Known answer) {
  if (by_hash.contains(answer->hash)) return;
  counts.ram_bytes += answer->bytes;
  const uint64_t hash = answer->hash;
  answers.push_front(std::move(answer));
  by_hash[hash] = answers.begin();
  while (counts.ram_bytes > budget_bytes) Forget(std::prev(answers.end()));
}

void AnswerCache::State::Forget(Answers::iterator answer) {
  counts.ram_bytes -= (*answer)->bytes;
  by_hash.erase((*answer)->hash);
  answers.erase(answer);
}

AnswerCache::AnswerCache(uint64_t bytes) : state_(std::make_unique<State>(bytes)) {}
AnswerCache::~AnswerCache() = default;

AnswerCache::Counts AnswerCache::counts() const {
  MutexLock lock(&state_->mutex);
  return state_->counts;
}

absl::StatusOr<SearchResult> AnswerCache::Search(Versions versions, const SearchRequest& request) {
  if (state_->budget_bytes == 0 || !IsCacheable(versions, request)) return mneme::Search(versions, request);
  const std::shared_ptr<const IndexVersion>& version = versions.front();
  const size_t d = request.spec.dimension;
  const std::vector<uint64_t> hashes = HashesOf(version, request);
  std::vector<bool> wanted;
  std::vector<State::Known> known = state_->FindAll(version, request, hashes, wanted);

  // The others, side by side.
  std::vector<size_t> missing;
  for (size_t q = 0; q < known.size(); ++q) {
    if (known[q] == nullptr) missing.push_back(q);
  }
  AlignedBuffer keys;
  keys.Resize(missing.size() * d * sizeof(float));
  for (size_t i = 0; i < missing.size(); ++i) {
    std::memcpy(keys.as<float>() + i * d, request.queries + missing[i] * d, d * sizeof(float));
  }
  SearchRequest rest = request;
  rest.queries = keys.as<float>();
  rest.query_count = missing.size();
  ASSIGN_OR_RETURN(SearchResult result, mneme::Search(versions, rest));

  std::vector<State::Known> fresh;
  for (size_t i = 0; i < missing.size(); ++i) {
    const size_t q = missing[i];
    if (!wanted[q]) continue;
    auto answer = std::make_shared<State::Answer>();
    answer->hash = hashes[q];
    answer->version = version;
    answer->parameters = Parameters(request);
    answer->key.assign(request.queries + q * d, request.queries + (q + 1) * d);
    answer->rows = NeighboursOf(result.neighbours, i, 1);
    answer->exact = result.statistics.exact;
    answer->bytes = BytesOf(answer->rows) + d * sizeof(float) + kOverheadBytes;
    fresh.push_back(std::move(answer));
  }
  if (!fresh.empty()) {
    MutexLock lock(&state_->mutex);
    for (State::Known& answer : fresh) state_->Keep(std::move(answer));
  }
  if (missing.size() == known.size()) return result;

  // Means per query count those that were known as nothing.
  SearchStatistics& statistics = result.statistics;
  statistics.rows_scanned = (statistics.rows_scanned * missing.size() + known.size() - 1) / known.size();
  statistics.lists_probed = (statistics.lists_probed * missing.size() + known.size() - 1) / known.size();
  statistics.rows_total = version->rows();
  statistics.tail_rows = version->tail_rows();
  statistics.segments = version->segments.size();
  std::vector<NeighbourColumns> parts;
  size_t next = 0;
  for (const State::Known& answer : known) {
    if (answer != nullptr) statistics.exact = statistics.exact && answer->exact;
    parts.push_back(answer != nullptr ? answer->rows : NeighboursOf(result.neighbours, next++, 1));
  }
  result.neighbours = Concatenate(std::move(parts));
  return result;
}

}  // namespace mneme
