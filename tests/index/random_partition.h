// A random partition with its brute-force twin, and random requests of it.
#ifndef MNEME_TESTS_INDEX_RANDOM_PARTITION_H_
#define MNEME_TESTS_INDEX_RANDOM_PARTITION_H_

#include "index/tail_lists.h"
#include "tests/index/random_index.h"

namespace mneme::testing {

// One partition: entries that never change, and versions of them cut into segments and tail in any way.
class Partition {
 public:
  Partition(PartitionId id, const IndexSpec& spec, size_t rows, RandomKeys& random)
      : id_(id), spec_(spec), entries_(RandomEntries(spec, rows, random)) {
    if (rows >= 60) codebook_ = TrainOn(spec, entries_, 6);
    for (uint64_t i = random.Below(3) * rows / 8; i > 0; --i) dead_.insert(random.Below(rows));
  }

  // Segments end at `cuts`; the rest is tail, which still holds some sealed rows, as it does while a seal is under way.
  std::shared_ptr<const IndexVersion> Version(const std::vector<Row>& cuts, RandomKeys& random) const {
    const ScratchDirectory scratch;
    auto version = std::make_shared<IndexVersion>();
    version->partition = id_;
    Row first = 0;
    for (const Row cut : cuts) {
      // A segment may have been built before or after its rows died.
      std::set<Row> gone;
      for (const Row row : dead_) {
        if (random.Below(2) == 0) gone.insert(row);
      }
      version->segments.push_back(Seal(spec_, entries_, codebook_, first, cut, gone, scratch));
      first = cut;
    }
    if (!cuts.empty()) version->codebook = codebook_;
    const Row overlap = random.Below(first + 1);
    Tail tail(spec_, overlap);
    // Some rows of the tail may be in lists, since an older version of fewer rows, fewer of them sealed, or of more.
    const Row sorted = overlap + random.Below(entries_.count - overlap + 1);
    version->tail_from = random.Below(std::min(first, sorted) + 1);
    tail.Append(entries_, overlap, sorted);
    version->tail = tail.TakeSnapshot();
    if (random.Below(2) == 0) SortTail(*version, spec_, 1);
    tail.Append(entries_, sorted, entries_.count);
    version->tail = tail.TakeSnapshot();
    version->tail_from = first;
    if (random.Below(4) == 0) SortTail(*version, spec_, 1 + random.Below(64));
    if (random.Below(4) == 0) {
      IndexVersion later = *version;
      later.tail_from += random.Below(entries_.count - later.tail_from + 1);
      SetListsOf(later.tail, nullptr);
      SortTail(later, spec_, 1);
    }
    version->dead = DeadRows().With(std::vector<Row>(dead_.begin(), dead_.end()));
    return version;
  }
  std::shared_ptr<const IndexVersion> RandomVersion(RandomKeys& random) const {
    std::set<Row> cuts;
    if (codebook_ != nullptr) {
      for (uint64_t i = random.Below(4); i > 0; --i) cuts.insert(1 + random.Below(entries_.count));
    }
    return Version({cuts.begin(), cuts.end()}, random);
  }

  // Every row that may answer `query`, with its score, in order.
  std::vector<Expected> Rank(const SearchRequest& request, size_t query) const {
    std::vector<Expected> ranked;
    const KeyShape shape{spec_.metric, spec_.key_dtype, spec_.dimension};
    for (size_t row = 0; row < entries_.count; ++row) {
      const EntryView entry = entries_.At(row);
      if (dead_.count(row) != 0 || !Answers(request, query, entry)) continue;
      const double score = ExactScoreScalar(shape, request.queries + query * spec_.dimension, entry.key.data());
      ranked.push_back({score, entry.id, id_, &entries_, row});
    }
    std::sort(ranked.begin(), ranked.end());
    return ranked;
  }

  const EntryColumns& entries() const { return entries_; }
  PartitionId id() const { return id_; }

 private:
  static bool Answers(const SearchRequest& request, size_t query, const EntryView& entry) {
    if (!request.exclude_ids.empty() && request.exclude_ids[query] == entry.id) return false;
    if (!request.exclude_sources.empty() && request.exclude_sources[query] == entry.attributes.source) return false;
    if (request.filter == nullptr) return true;
    const RowFilter& filter = *request.filter;
    const Attributes& a = entry.attributes;
    const auto in = [](const auto& list, auto value) {
      return !list || std::count(list->begin(), list->end(), value) > 0;
    };
    return in(filter.ids, entry.id) && in(filter.labels, a.label) && in(filter.sources, a.source) &&
           (a.expiry_ms == 0 || a.expiry_ms > filter.stamp_ms) &&
           (!filter.created_from_ms || a.created_ms >= *filter.created_from_ms) &&
           (!filter.created_to_ms || a.created_ms < *filter.created_to_ms);
  }

  const PartitionId id_;
  const IndexSpec spec_;
  const EntryColumns entries_;
  std::shared_ptr<Codebook> codebook_;
  std::set<Row> dead_;
};

// A request with the columns that it borrows.
struct Asked {
  SearchRequest request;
  std::vector<float> queries;
  RowFilter filter;
  std::vector<EntryId> exclude_ids;
  std::vector<uint64_t> exclude_sources;

  Asked(const IndexSpec& spec, const EntryColumns& entries, RandomKeys& random) {
    request.query_count = 1 + random.Below(20);
    queries = random.Normal(request.query_count * spec.dimension);
    // Some queries are stored keys: distance zero and its ties.
    for (size_t q = 0; q < request.query_count; q += 3) {
      DecodeVector(spec.key_dtype, entries.At(random.Below(entries.count)).key.data(), spec.dimension,
                   queries.data() + q * spec.dimension);
    }
    request.spec = spec;
    request.queries = queries.data();
    const uint32_t depths[] = {1, 2, 10, 100, 1000};
    request.k = depths[random.Below(5)];
    request.with_keys = random.Below(2) == 0;
    if (random.Below(2) == 0) AddFilter(entries, random);
    if (random.Below(3) == 0) {
      for (size_t q = 0; q < request.query_count; ++q) {
        exclude_ids.push_back(entries.ids[random.Below(entries.count)]);
        exclude_sources.push_back(random.Below(6));
      }
      request.exclude_ids = exclude_ids;
      if (random.Below(2) == 0) request.exclude_sources = exclude_sources;
    }
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;

 private:
  void AddFilter(const EntryColumns& entries, RandomKeys& random) {
    filter.stamp_ms = static_cast<int64_t>(random.Below(1000));
    if (random.Below(3) == 0) filter.labels = {-1, 1};
    if (random.Below(3) == 0) filter.sources = {0, 2, 3};
    if (random.Below(5) == 0) filter.created_from_ms = 300;
    if (random.Below(5) == 0) filter.created_to_ms = 700;
    if (random.Below(5) == 0) {
      filter.ids.emplace();
      for (int i = 0; i < 20; ++i) filter.ids->push_back(entries.ids[random.Below(entries.count)]);
      std::sort(filter.ids->begin(), filter.ids->end());
    }
    request.filter = &filter;
  }
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_INDEX_RANDOM_PARTITION_H_
