#include "index/tail.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/aligned_buffer.h"
#include "common/mutex.h"
#include "index/kernels/exact_distance.h"
#include "index/key_norms.h"

namespace mneme {
namespace {

constexpr size_t kMinChunkRows = 16;
// Values of no fixed width: room of a chunk, doubling like its rows. A longer value gets a chunk of its own size.
constexpr size_t kMinChunkValueBytes = 1024;
constexpr size_t kMaxChunkValueBytes = size_t{1} << 20;

// A column that exists once some row differs from the default. The writer fills every slot before it publishes the
// array, so a reader sees either no column or one that is right for all rows of its snapshot.
template <typename T>
class OptionalColumn {
 public:
  OptionalColumn() = default;
  OptionalColumn(const OptionalColumn&) = delete;
  OptionalColumn& operator=(const OptionalColumn&) = delete;
  ~OptionalColumn() { delete[] values_.load(std::memory_order_relaxed); }

  // Returns the bytes that it had to allocate.
  size_t Set(size_t i, T value, T absent, size_t capacity) {
    T* values = values_.load(std::memory_order_relaxed);
    if (values != nullptr) {
      values[i] = value;
      return 0;
    }
    if (value == absent) return 0;
    values = new T[capacity];
    std::fill_n(values, capacity, absent);
    values[i] = value;
    values_.store(values, std::memory_order_release);
    return capacity * sizeof(T);
  }
  const T* From(size_t first) const {
    const T* values = values_.load(std::memory_order_acquire);
    return values == nullptr ? nullptr : values + first;
  }

 private:
  std::atomic<T*> values_{nullptr};
};

// Which lists the rows of a tail are in is no part of its versions: what was set last serves all of them. Its chunks
// share one. Thread-safe.
class TailListsCell {
 public:
  std::shared_ptr<const TailLists> Get() const {
    MutexLock lock(&mutex_);
    return lists_;
  }
  void Set(std::shared_ptr<const TailLists> lists) {
    MutexLock lock(&mutex_);
    lists_.swap(lists);
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const TailLists> lists_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

// A run of rows whose arrays never move. The writer writes slots at and beyond the published length; a reader reads
// only below the length of its snapshot, which was handed over under the lock that publishes versions.
class TailChunk {
 public:
  TailChunk(const IndexSpec& spec, Row first_row, size_t rows, size_t value_bytes,
            std::shared_ptr<TailListsCell> lists)
      : spec_(spec), first_row_(first_row), capacity_(rows), value_capacity_(value_bytes), lists_(std::move(lists)),
        keys_(rows * spec.KeyBytes()), ids_(new EntryId[rows]), values_(new char[value_bytes]) {
    if (spec.value_bytes == 0) {
      value_offsets_.reset(new uint64_t[rows + 1]);
      value_offsets_[0] = 0;
    }
    if (spec.metric == Metric::kCosine) inverse_norms_.reset(new float[rows]);
    fixed_bytes_ = rows * (spec.KeyBytes() + sizeof(EntryId) + (spec.value_bytes == 0 ? sizeof(uint64_t) : 0) +
                           (inverse_norms_ != nullptr ? sizeof(float) : 0)) + value_bytes + sizeof(TailChunk);
    bytes_ = fixed_bytes_;
  }

  Row first_row() const { return first_row_; }
  size_t count() const { return count_; }
  size_t capacity() const { return capacity_; }
  size_t value_capacity() const { return value_capacity_; }
  size_t bytes() const { return bytes_; }
  // As bytes(), for any thread: what of it was published.
  size_t published_bytes() const {
    return fixed_bytes_ + BytesOf(weights_) + BytesOf(scores_) + BytesOf(labels_) + BytesOf(sources_) +
           BytesOf(positions_) + BytesOf(expiries_ms_) + BytesOf(created_ms_);
  }
  bool HasRoomFor(std::string_view value) const {
    return count_ < capacity_ && value_end_ + value.size() <= value_capacity_;
  }

  void Append(const EntryView& entry) {
    assert(HasRoomFor(entry.value) && entry.key.size() == spec_.KeyBytes());
    const size_t i = count_++;
    std::memcpy(keys_.data() + i * spec_.KeyBytes(), entry.key.data(), spec_.KeyBytes());
    ids_[i] = entry.id;
    if (!entry.value.empty()) std::memcpy(values_.get() + value_end_, entry.value.data(), entry.value.size());
    value_end_ += entry.value.size();
    if (value_offsets_ != nullptr) value_offsets_[i + 1] = value_end_;
    SetNorm(i, entry.key.data());
    SetAttributes(i, entry.attributes);
  }

  const std::shared_ptr<TailListsCell>& lists() const { return lists_; }

  RowBlock Block(size_t first, size_t end) const {
    RowBlock block;
    block.count = end - first;
    block.keys = keys_.data() + first * spec_.KeyBytes();
    block.ids = ids_.get() + first;
    block.first_row = first_row_ + first;
    block.values = values_.get() + first * spec_.value_bytes;
    if (value_offsets_ != nullptr) block.value_offsets = value_offsets_.get() + first;
    block.weights = weights_.From(first);
    block.scores = scores_.From(first);
    block.labels = labels_.From(first);
    block.sources = sources_.From(first);
    block.positions = positions_.From(first);
    block.expiries_ms = expiries_ms_.From(first);
    block.created_ms = created_ms_.From(first);
    block.max_norm = max_norm_.load(std::memory_order_relaxed);
    if (inverse_norms_ != nullptr) block.inverse_norms = inverse_norms_.get() + first;
    return block;
  }

 private:
  template <typename T>
  size_t BytesOf(const OptionalColumn<T>& column) const {
    return column.From(0) == nullptr ? 0 : capacity_ * sizeof(T);
  }

  void SetNorm(size_t i, const char* key) {
    const double norm = ExactNorm({spec_.metric, spec_.key_dtype, spec_.dimension}, key);
    if (inverse_norms_ != nullptr) inverse_norms_[i] = InverseNorm(norm);
    // Readers of older snapshots may see the newer, larger bound: it bounds their rows too.
    if (NormBound(norm) > max_norm_.load(std::memory_order_relaxed)) {
      max_norm_.store(NormBound(norm), std::memory_order_relaxed);
    }
  }

  void SetAttributes(size_t i, const Attributes& a) {
    const Attributes absent;
    bytes_ += weights_.Set(i, a.weight, absent.weight, capacity_);
    bytes_ += scores_.Set(i, a.score, absent.score, capacity_);
    bytes_ += labels_.Set(i, a.label, absent.label, capacity_);
    bytes_ += sources_.Set(i, a.source, absent.source, capacity_);
    bytes_ += positions_.Set(i, a.position, absent.position, capacity_);
    bytes_ += expiries_ms_.Set(i, a.expiry_ms, absent.expiry_ms, capacity_);
    bytes_ += created_ms_.Set(i, a.created_ms, absent.created_ms, capacity_);
  }

  const IndexSpec spec_;
  const Row first_row_;
  const size_t capacity_;
  const size_t value_capacity_;
  const std::shared_ptr<TailListsCell> lists_;
  size_t fixed_bytes_ = 0;  // constant after construction
  AlignedBuffer keys_;
  std::unique_ptr<EntryId[]> ids_;
  std::unique_ptr<char[]> values_;
  std::unique_ptr<uint64_t[]> value_offsets_;
  std::unique_ptr<float[]> inverse_norms_;
  OptionalColumn<float> weights_;
  OptionalColumn<double> scores_;
  OptionalColumn<int64_t> labels_;
  OptionalColumn<uint64_t> sources_;
  OptionalColumn<uint64_t> positions_;
  OptionalColumn<int64_t> expiries_ms_;
  OptionalColumn<int64_t> created_ms_;
  std::atomic<double> max_norm_{0.0};

  // The writer's own.
  size_t count_ = 0;
  size_t value_end_ = 0;
  size_t bytes_ = 0;
};

Tail::Tail(const IndexSpec& spec, Row first_row) : spec_(spec), first_row_(first_row), end_row_(first_row) {}

Tail::~Tail() = default;

TailChunk& Tail::ChunkFor(std::string_view value, size_t rows_to_come) {
  if (!chunks_.empty() && chunks_.back()->HasRoomFor(value)) return *chunks_.back();
  const size_t last_rows = chunks_.empty() ? 0 : chunks_.back()->capacity();
  const size_t rows = std::clamp(std::max(2 * last_rows, rows_to_come), kMinChunkRows, kMaxChunkRows);
  size_t value_bytes = rows * spec_.value_bytes;
  if (spec_.value_bytes == 0) {
    const size_t last_bytes = chunks_.empty() ? 0 : chunks_.back()->value_capacity();
    value_bytes = std::max(std::clamp(2 * last_bytes, kMinChunkValueBytes, kMaxChunkValueBytes), value.size());
  }
  auto lists = chunks_.empty() ? std::make_shared<TailListsCell>() : chunks_.back()->lists();
  chunks_.push_back(std::make_shared<TailChunk>(spec_, end_row_, rows, value_bytes, std::move(lists)));
  ram_bytes_ += chunks_.back()->bytes();
  return *chunks_.back();
}

void Tail::Append(const EntryColumns& columns, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) Append(columns.At(i), end - i);
}

void Tail::Append(const EntryView& entry, size_t rows_to_come) {
  TailChunk& chunk = ChunkFor(entry.value, rows_to_come);
  const size_t before = chunk.bytes();
  chunk.Append(entry);
  if (chunk.bytes() != before) ram_bytes_ += chunk.bytes() - before;
  ++end_row_;
}

Tail::Snapshot Tail::TakeSnapshot() const {
  Snapshot snapshot;
  snapshot.first_row = chunks_.empty() ? end_row_ : chunks_.front()->first_row();
  snapshot.end_row = end_row_;
  snapshot.parts.reserve(chunks_.size());
  for (const std::shared_ptr<TailChunk>& chunk : chunks_) snapshot.parts.push_back({chunk, chunk->count()});
  return snapshot;
}

void Tail::DropBelow(Row row) {
  size_t dropped = 0;
  while (dropped < chunks_.size() && chunks_[dropped]->first_row() + chunks_[dropped]->count() <= row) {
    ram_bytes_ -= chunks_[dropped]->bytes();
    ++dropped;
  }
  chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<ptrdiff_t>(dropped));
  first_row_ = chunks_.empty() ? end_row_ : chunks_.front()->first_row();
}

RowBlock BlockOf(const Tail::Snapshot::Part& part, Row from_row) {
  const Row first_row = part.chunk->first_row();
  const size_t first = from_row <= first_row ? 0 : std::min<size_t>(from_row - first_row, part.count);
  return part.chunk->Block(first, part.count);
}

uint64_t RamBytesOf(const Tail::Snapshot::Part& part) { return part.chunk->published_bytes(); }
Row FirstRowOf(const Tail::Snapshot::Part& part) { return part.chunk->first_row(); }
std::shared_ptr<const TailLists> ListsOf(const Tail::Snapshot& tail) {
  return tail.parts.empty() ? nullptr : tail.parts.back().chunk->lists()->Get();
}
void SetListsOf(const Tail::Snapshot& tail, std::shared_ptr<const TailLists> lists) {
  if (!tail.parts.empty()) tail.parts.back().chunk->lists()->Set(std::move(lists));
}

}  // namespace mneme
