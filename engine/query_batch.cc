// 1. Members of several stamps are one batch when no entry expires between the oldest and the newest, so that all see
//    the same entries; else those of each stamp are a batch of their own, the oldest first.
// 2. Members whose time is over already are answered and leave.
// 3. The queries and exclusions of the others are laid side by side; one search runs over them.
// 4. While it runs, `stop` answers members whose time ends; the search itself ends when nobody is left.
// 5. The columns are split by rows. Counts that are means per query are the batch's; sums are shared out by rows.
#include "engine/query_batch.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <tuple>
#include <utility>

#include "absl/hash/hash.h"
#include "common/aligned_buffer.h"
#include "common/checksum.h"
#include "common/error_reason.h"
#include "engine/neighbour_rows.h"

namespace mneme {
namespace {

using Versions = absl::Span<const std::shared_ptr<const IndexVersion>>;

template <typename T>
void AppendRows(const std::vector<T>& of_query, const BatchMember& member, std::vector<T>& out) {
  if (of_query.empty()) return;
  const auto begin = of_query.begin() + static_cast<ptrdiff_t>(member.begin);
  out.insert(out.end(), begin, begin + static_cast<ptrdiff_t>(member.count));
}

// What searches that run together have in common, save lists.
auto PlainPartOf(const QueryCommand& command) {
  return std::tuple(command.partitions.all, command.k, command.exact, command.recall_target, command.probes,
                    command.approximate_distances, command.with_keys, command.exclude_ids.empty(),
                    command.exclude_sources.empty(), command.lease.get());
}

// 0 for an absent list.
template <typename T>
uint64_t HashOf(const std::vector<T>* list) {
  if (list == nullptr) return 0;
  return Checksum64({reinterpret_cast<const char*>(list->data()), list->size() * sizeof(T)});
}

class QueryBatch {
 public:
  QueryBatch(AnswerCache& answers, Versions versions, const IndexSpec& spec, std::vector<BatchMember> members)
      : answers_(answers), versions_(versions), spec_(spec), members_(std::move(members)) {}

  void Run() {
    if (!AnswerThoseOver().ok()) return;
    try {
      std::erase_if(members_, IsAnswered);
      absl::StatusOr<SearchResult> result = members_.size() == 1 ? SearchOne() : SearchAll();
      if (result.ok()) {
        Split(*std::move(result));
      } else if (members_.size() > 1 && absl::IsInvalidArgument(result.status())) {
        RunEachAlone();  // what one asked for was too much: that is no matter of the others
      } else {
        AnswerAll(result.status());
      }
    } catch (const std::bad_alloc&) {
      RunEachAlone();
    }
  }

 private:
  static SearchResult EmptyAnswer(size_t queries) {
    SearchResult result;
    result.neighbours.offsets.assign(queries + 1, 0);
    return result;
  }

  static bool IsAnswered(const BatchMember& member) { return member.answer == nullptr; }

  static void Answer(BatchMember& member, absl::StatusOr<SearchResult> result) {
    if (IsAnswered(member)) return;
    const auto answer = std::exchange(member.answer, nullptr);
    answer(std::move(result));
  }

  void AnswerAll(const absl::Status& status) {
    for (BatchMember& member : members_) Answer(member, status);
  }

  // OK while somebody is left; else why the last gave up.
  absl::Status AnswerThoseOver() {
    absl::Status last = absl::CancelledError("nobody waits for the answer");
    bool left = false;
    for (BatchMember& member : members_) {
      if (IsAnswered(member)) continue;
      const absl::Status status = member.command->limits.Check();
      left = left || status.ok();
      if (status.ok()) continue;
      last = status;
      Answer(member, status);
    }
    return left ? absl::OkStatus() : last;
  }

  absl::StatusOr<SearchResult> SearchOne() {
    const BatchMember& only = members_.front();
    if (only.command->k == 0) return EmptyAnswer(only.count);
    SearchRequest request = MakeSearchRequest(spec_, *only.command, only.begin, only.count);
    request.stop = [this] { return AnswerThoseOver(); };
    return answers_.Search(versions_, request);
  }

  absl::StatusOr<SearchResult> SearchAll() {
    const size_t row_bytes = spec_.dimension * sizeof(float);
    size_t rows = 0;
    for (const BatchMember& member : members_) rows += member.count;
    AlignedBuffer queries;
    queries.Resize(rows * row_bytes);
    std::vector<EntryId> exclude_ids;
    std::vector<uint64_t> exclude_sources;
    char* to = queries.data();
    for (const BatchMember& member : members_) {
      const QueryCommand& command = *member.command;
      std::memcpy(to, command.queries.data() + member.begin * row_bytes, member.count * row_bytes);
      to += member.count * row_bytes;
      AppendRows(command.exclude_ids, member, exclude_ids);
      AppendRows(command.exclude_sources, member, exclude_sources);
    }
    SearchRequest request = MakeSearchRequest(spec_, *members_.front().command, 0, 0);
    request.queries = queries.as<float>();
    request.query_count = rows;
    request.exclude_ids = exclude_ids;
    request.exclude_sources = exclude_sources;
    request.stop = [this] { return AnswerThoseOver(); };
    return answers_.Search(versions_, request);
  }

  void Split(SearchResult result) {
    if (members_.size() == 1) return Answer(members_.front(), std::move(result));
    const size_t rows = result.neighbours.queries();
    size_t first = 0;
    for (BatchMember& member : members_) {
      const size_t begin = first;
      first += member.count;
      if (IsAnswered(member)) continue;
      SearchResult part;
      part.neighbours = NeighboursOf(result.neighbours, begin, member.count);
      part.statistics = result.statistics;
      part.statistics.rows_reranked = (result.statistics.rows_reranked * member.count + rows - 1) / rows;
      Answer(member, std::move(part));
    }
  }

  // There was too little ram for all together, or one of them cannot be answered.
  void RunEachAlone() {
    if (members_.size() == 1) {
      return AnswerAll(WithReason(absl::ResourceExhaustedError("out of ram while searching"), reason::kMemoryLimit));
    }
    for (BatchMember& member : members_) {
      if (!IsAnswered(member)) QueryBatch(answers_, versions_, spec_, {std::exchange(member, {})}).Run();
    }
  }

  AnswerCache& answers_;
  const Versions versions_;
  const IndexSpec spec_;
  std::vector<BatchMember> members_;  // answered ones have no `answer` any more
};

}  // namespace

bool SearchableTogether(const QueryCommand& a, const QueryCommand& b) {
  return PlainPartOf(a) == PlainPartOf(b) && a.partitions.partitions == b.partitions.partitions &&
         a.filter.SameButForStamp(b.filter);
}

uint64_t BatchAffinity(MemoryNumber memory, uint32_t shard, const QueryCommand& command) {
  const RowFilter& filter = command.filter;
  const auto parts = std::tuple(memory, shard, PlainPartOf(command), HashOf(&command.partitions.partitions),
                                HashOf(filter.ids ? &*filter.ids : nullptr),
                                HashOf(filter.labels ? &*filter.labels : nullptr),
                                HashOf(filter.sources ? &*filter.sources : nullptr));
  return std::max<uint64_t>(absl::Hash<decltype(parts)>()(parts), 1);
}

SearchRequest MakeSearchRequest(const IndexSpec& spec, const QueryCommand& command, size_t begin, size_t count) {
  SearchRequest request;
  request.spec = spec;
  request.queries = command.queries.as<float>() + begin * spec.dimension;
  request.query_count = count;
  request.k = command.k;
  request.exact = command.exact;
  request.probes = command.probes;
  request.recall_target = command.recall_target;
  request.approximate_distances = command.approximate_distances;
  request.filter = &command.filter;
  if (!command.exclude_ids.empty()) request.exclude_ids = absl::MakeSpan(command.exclude_ids).subspan(begin, count);
  if (!command.exclude_sources.empty()) {
    request.exclude_sources = absl::MakeSpan(command.exclude_sources).subspan(begin, count);
  }
  request.with_keys = command.with_keys;
  return request;
}

void SearchTogether(AnswerCache& answers, Versions versions, const IndexSpec& spec, std::vector<BatchMember> members) {
  const auto stamp_of = [](const BatchMember& member) { return member.command->filter.stamp_ms; };
  const auto [oldest, newest] = std::minmax_element(
      members.begin(), members.end(), [&](const auto& a, const auto& b) { return stamp_of(a) < stamp_of(b); });
  const auto expires_between = [after = stamp_of(*oldest), until = stamp_of(*newest)](const auto& version) {
    return version->ExpiresWithin(after, until);
  };
  if (stamp_of(*oldest) == stamp_of(*newest) || std::none_of(versions.begin(), versions.end(), expires_between)) {
    return QueryBatch(answers, versions, spec, std::move(members)).Run();
  }
  std::map<int64_t, std::vector<BatchMember>> of_stamp;
  for (BatchMember& member : members) of_stamp[stamp_of(member)].push_back(std::move(member));
  for (auto& [stamp, batch] : of_stamp) QueryBatch(answers, versions, spec, std::move(batch)).Run();
}

}  // namespace mneme
