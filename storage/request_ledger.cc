#include "storage/request_ledger.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "common/status_macros.h"
#include "storage/format.h"
#include "storage/rocksdb_status.h"

namespace mneme {

absl::StatusOr<std::optional<RememberedRequest>> RequestLedger::Find(const Hash128& id) const {
  rocksdb::PinnableSlice record;
  const rocksdb::Status status = db_.Get(rocksdb::ReadOptions(), family_, format::RequestKey(id), &record);
  if (status.IsNotFound()) return std::optional<RememberedRequest>();
  RETURN_IF_ERROR(FromRocksDb(status, "read a request"));
  ASSIGN_OR_RETURN(RememberedRequest request, format::DecodeRequest(id, ToView(record)));
  return std::optional<RememberedRequest>(std::move(request));
}

absl::StatusOr<std::vector<RememberedRequest>> RequestLedger::Oldest(size_t limit) const {
  std::vector<RememberedRequest> oldest;
  const std::string end = format::PrefixEnd(format::kRequestByAgePrefix);
  const rocksdb::Slice bound(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &bound;
  const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(options, family_));
  for (it->Seek(format::kRequestByAgePrefix); it->Valid() && oldest.size() < limit; it->Next()) {
    ASSIGN_OR_RETURN(const format::ParsedRequestAge key, format::ParseRequestByAgeKey(ToView(it->key())));
    ASSIGN_OR_RETURN(RememberedRequest request, format::DecodeRequestAge(key, ToView(it->value())));
    oldest.push_back(std::move(request));
  }
  RETURN_IF_ERROR(FromRocksDb(it->status(), "read requests"));
  return oldest;
}

absl::StatusOr<std::optional<RememberedRequest>> RequestLedger::Latest() const {
  const std::unique_ptr<rocksdb::Iterator> it(db_.NewIterator(rocksdb::ReadOptions(), family_));
  it->SeekForPrev(format::PrefixEnd(format::kRequestByAgePrefix));
  RETURN_IF_ERROR(FromRocksDb(it->status(), "read requests"));
  if (!it->Valid() || !it->key().starts_with(format::kRequestByAgePrefix)) return std::optional<RememberedRequest>();
  ASSIGN_OR_RETURN(const format::ParsedRequestAge key, format::ParseRequestByAgeKey(ToView(it->key())));
  ASSIGN_OR_RETURN(RememberedRequest request, format::DecodeRequestAge(key, ToView(it->value())));
  return std::optional<RememberedRequest>(std::move(request));
}

absl::StatusOr<int64_t> RequestLedger::Encode(const StoreBatch& batch, rocksdb::WriteBatch& out) const {
  // The sequence of each request that the batch touches, as it stands after the operations appended so far.
  std::map<std::pair<uint64_t, uint64_t>, std::optional<Sequence>> touched;
  const auto sequence_of = [&](const Hash128& id) -> absl::StatusOr<std::optional<Sequence>*> {
    const auto [it, fresh] = touched.try_emplace({id.high, id.low});
    if (fresh) {
      ASSIGN_OR_RETURN(const std::optional<RememberedRequest> stored, Find(id));
      if (stored.has_value()) it->second = stored->sequence;
    }
    return &it->second;
  };
  int64_t change = 0;
  rocksdb::Status status;
  for (const RememberedRequest& request : batch.forgotten_requests) {
    ASSIGN_OR_RETURN(std::optional<Sequence>* const sequence, sequence_of(request.id));
    if (*sequence != request.sequence) continue;
    status = out.Delete(family_, format::RequestKey(request.id));
    if (status.ok()) status = out.Delete(family_, format::RequestByAgeKey(request.sequence, request.id));
    RETURN_IF_ERROR(FromRocksDb(status, "commit"));
    sequence->reset();
    --change;
  }
  for (const RememberedRequest& request : batch.requests) {
    ASSIGN_OR_RETURN(std::optional<Sequence>* const sequence, sequence_of(request.id));
    if (sequence->has_value()) {
      status = out.Delete(family_, format::RequestByAgeKey(**sequence, request.id));
      --change;
    }
    if (status.ok()) status = out.Put(family_, format::RequestKey(request.id), format::EncodeRequest(request));
    if (status.ok()) {
      status = out.Put(family_, format::RequestByAgeKey(request.sequence, request.id),
                       format::EncodeRequestAge(request));
    }
    RETURN_IF_ERROR(FromRocksDb(status, "commit"));
    *sequence = request.sequence;
    ++change;
  }
  return change;
}

}  // namespace mneme
