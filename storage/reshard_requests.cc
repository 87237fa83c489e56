// The requests of a restore onto another number of shards. Each new shard has those of all, so it takes no more than a
// shard must remember: the newest of them, by their stamps, which is what its sequences say from now on.
#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "common/limits.h"
#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/reshard.h"

namespace mneme {
namespace {

// Those of as long before the newest are taken, however many they are: twice what was promised, for clocks differ, and
// a restore takes a while.
constexpr int64_t kTakenMs = 2 * limits::kRememberedRequestMs;

}  // namespace

absl::StatusOr<RequestAges> Reshard::ReadAges() {
  RequestAges ages(limits::kRememberedRequests);
  for (DbCursor& cursor : CursorsOver(format::kRequestsFamily)) {
    for (cursor.Seek(format::kRequestByAgePrefix); cursor.At(format::kRequestByAgePrefix); cursor.Next()) {
      ASSIGN_OR_RETURN(const format::ParsedRequestAge key, format::ParseRequestByAgeKey(cursor.key()));
      ASSIGN_OR_RETURN(const RememberedRequest request, format::DecodeRequestAge(key, cursor.value()));
      ages.Add(request.stamp_ms, request.id);
      RETURN_IF_ERROR(Moved(cursor.key().size() + cursor.value().size()));
    }
    RETURN_IF_ERROR(cursor.status());
  }
  ages.Finish();
  return ages;
}

absl::Status Reshard::MoveRequests() {
  ASSIGN_OR_RETURN(const RequestAges ages, ReadAges());
  std::vector<DbCursor> cursors = CursorsOver(format::kRequestsFamily);
  for (DbCursor& cursor : cursors) cursor.Seek(format::kRequestPrefix);
  while (true) {
    ASSIGN_OR_RETURN(const std::optional<std::string> least, LeastKey(cursors, format::kRequestPrefix));
    if (!least.has_value()) return absl::OkStatus();
    ASSIGN_OR_RETURN(RememberedRequest whole, ReadRequest(*least, cursors));
    const std::optional<size_t> rank = ages.RankOf(whole.stamp_ms, whole.id);
    if (!rank.has_value() && whole.stamp_ms <= ages.newest_ms() - kTakenMs) continue;
    // No shard remembered more of them than it had sequences, so that these begin above 1 where some have no rank.
    whole.sequence = rank.has_value() ? sequence_ - (ages.size() - 1 - *rank) : 1;
    for (ReshardTarget& target : targets_) RETURN_IF_ERROR(target.Add(whole));
  }
}

absl::StatusOr<RememberedRequest> Reshard::ReadRequest(const std::string& key, std::vector<DbCursor>& cursors) {
  ASSIGN_OR_RETURN(const Hash128 id, format::ParseRequestKey(key));
  const auto shards = static_cast<uint32_t>(cursors.size());
  RememberedRequest whole;
  std::vector<RequestPart> parts;
  for (uint32_t shard = 0; shard < shards; ++shard) {
    DbCursor& cursor = cursors[shard];
    if (!cursor.Valid() || cursor.key() != key) continue;
    ASSIGN_OR_RETURN(RememberedRequest request, format::DecodeRequest(id, cursor.value()));
    const uint64_t bytes = cursor.key().size() + cursor.value().size();
    cursor.Next();
    RETURN_IF_ERROR(Moved(bytes));
    const bool first = parts.empty() && whole.earlier.empty();
    // One id for two writes that met on no shard: the later one counts.
    const bool other = !first && request.content != whole.content;
    if (other && request.stamp_ms <= whole.stamp_ms) continue;
    if (other) parts.clear();
    if (first || other) whole = {.id = id, .content = request.content, .stamp_ms = request.stamp_ms, .result = {}};
    whole.stamp_ms = std::max(whole.stamp_ms, request.stamp_ms);
    const bool in_parts = !request.earlier.empty();
    if (whole.earlier.empty()) whole.earlier = std::move(request.earlier);  // all shards have the same
    if (!in_parts || !request.result.empty()) parts.push_back({shards, shard, std::move(request.result)});
  }
  whole.earlier.insert(whole.earlier.end(), std::make_move_iterator(parts.begin()),
                       std::make_move_iterator(parts.end()));
  return whole;
}

}  // namespace mneme
