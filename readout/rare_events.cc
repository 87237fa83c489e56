// How a batch is observed: the similarities of kWidth queries to all slots are computed at once in single precision,
// with the greatest of each kBlock slots beside them; when an item writes a slot, that slot's row is computed again.
// Only what lies within the rounding error of the best is then compared in double.
#include "readout/rare_events.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "readout/rare_events.cc"
// Vectors of unknown length cannot be kept in arrays; such machines use the narrower fixed ones.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV | HWY_SSSE3)
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#ifndef MNEME_READOUT_RARE_EVENTS_WIDTH_
#define MNEME_READOUT_RARE_EVENTS_WIDTH_
namespace mneme {
inline constexpr size_t kObserveWidth = 32;  // queries at a time: two vectors of the widest target
}  // namespace mneme
#endif

HWY_BEFORE_NAMESPACE();
namespace mneme {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Tag = hn::CappedTag<float, 16>;

// out[s0], .. out[s3] of [slot][kObserveWidth] for the queries of two vectors from `lane` on. Slots may be the same.
// Eight variables, for AddressSanitizer puts an array of vectors where it is not aligned.
HWY_INLINE void Tile(const float* transposed, const float* keys, size_t dim, size_t lane, size_t s0, size_t s1,
                     size_t s2, size_t s3, float* out) {
  const Tag tag;
  const size_t lanes = hn::Lanes(tag);
  auto low0 = hn::Zero(tag);
  auto low1 = low0, low2 = low0, low3 = low0;
  auto high0 = low0, high1 = low0, high2 = low0, high3 = low0;
  for (size_t i = 0; i < dim; ++i) {
    const auto a = hn::LoadU(tag, transposed + i * kObserveWidth + lane);
    const auto b = hn::LoadU(tag, transposed + i * kObserveWidth + lane + lanes);
    const auto c0 = hn::Set(tag, keys[s0 * dim + i]);
    const auto c1 = hn::Set(tag, keys[s1 * dim + i]);
    const auto c2 = hn::Set(tag, keys[s2 * dim + i]);
    const auto c3 = hn::Set(tag, keys[s3 * dim + i]);
    low0 = hn::MulAdd(c0, a, low0);
    low1 = hn::MulAdd(c1, a, low1);
    low2 = hn::MulAdd(c2, a, low2);
    low3 = hn::MulAdd(c3, a, low3);
    high0 = hn::MulAdd(c0, b, high0);
    high1 = hn::MulAdd(c1, b, high1);
    high2 = hn::MulAdd(c2, b, high2);
    high3 = hn::MulAdd(c3, b, high3);
  }
  hn::StoreU(low0, tag, out + s0 * kObserveWidth + lane);
  hn::StoreU(low1, tag, out + s1 * kObserveWidth + lane);
  hn::StoreU(low2, tag, out + s2 * kObserveWidth + lane);
  hn::StoreU(low3, tag, out + s3 * kObserveWidth + lane);
  hn::StoreU(high0, tag, out + s0 * kObserveWidth + lane + lanes);
  hn::StoreU(high1, tag, out + s1 * kObserveWidth + lane + lanes);
  hn::StoreU(high2, tag, out + s2 * kObserveWidth + lane + lanes);
  hn::StoreU(high3, tag, out + s3 * kObserveWidth + lane + lanes);
}

// out[s][q] = key s times query q; transposed is [dim][kObserveWidth]. count >= 1.
void Dots(const float* transposed, const float* keys, size_t count, size_t dim, float* out) {
  const size_t step = 2 * hn::Lanes(Tag());
  const size_t last = count - 1;
  for (size_t lane = 0; lane < kObserveWidth; lane += step) {
    for (size_t s = 0; s < count; s += 4) {
      Tile(transposed, keys, dim, lane, s, std::min(s + 1, last), std::min(s + 2, last), std::min(s + 3, last), out);
    }
  }
}

// out[q] = the greatest of rows[s][q]; count >= 1.
void Greatest(const float* rows, size_t count, float* out) {
  const Tag tag;
  for (size_t lane = 0; lane < kObserveWidth; lane += hn::Lanes(tag)) {
    auto greatest = hn::LoadU(tag, rows + lane);
    for (size_t s = 1; s < count; ++s) greatest = hn::Max(greatest, hn::LoadU(tag, rows + s * kObserveWidth + lane));
    hn::StoreU(greatest, tag, out + lane);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace mneme
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mneme {
namespace {

HWY_EXPORT(Dots);
HWY_EXPORT(Greatest);

constexpr size_t kWidth = kObserveWidth;
constexpr size_t kBlock = 64;

// Scales a row to unit length; false, and unchanged, when it is zero.
bool Normalise(const double* row, size_t dim, float* out) {
  double square = 0.0;
  for (size_t i = 0; i < dim; ++i) square += row[i] * row[i];
  if (square == 0.0) return false;
  const double norm = std::sqrt(square);
  for (size_t i = 0; i < dim; ++i) out[i] = static_cast<float>(row[i] / norm);
  return true;
}

uint64_t Mix(uint64_t x) {  // the finaliser of splitmix64
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

struct Hit {
  uint32_t slot = 0;
  double similarity = -std::numeric_limits<double>::infinity();

  bool Before(const Hit& other) const {
    return similarity > other.similarity || (similarity == other.similarity && slot < other.slot);
  }
};

}  // namespace

class RareEvents::Chunk {
 public:
  // `queries` are `count` <= kWidth unit rows; room is made for as many slots more.
  Chunk(const RareEvents& table, const float* queries, size_t count)
      : table_(table),
        queries_(queries),
        margin_(static_cast<float>(table.dim_ + 4) * 0x1p-22F),
        transposed_(table.dim_ * kWidth, 0.0F),
        rows_((table.size() + count) * kWidth),
        greatest_((table.size() + count + kBlock - 1) / kBlock * kWidth) {
    for (size_t q = 0; q < count; ++q) {
      for (size_t i = 0; i < table.dim_; ++i) transposed_[i * kWidth + q] = queries[q * table.dim_ + i];
    }
    HWY_DYNAMIC_DISPATCH(Dots)(transposed_.data(), table.keys_.data(), table.size(), table.dim_, rows_.data());
    for (size_t first = 0; first < table.size(); first += kBlock) FindGreatest(first / kBlock);
  }

  // After a slot was written.
  void Update(uint32_t slot) {
    HWY_DYNAMIC_DISPATCH(Dots)(transposed_.data(), table_.key(slot).data(), 1, table_.dim_, &rows_[slot * kWidth]);
    FindGreatest(slot / kBlock);
  }

  Hit HitOf(size_t q, uint32_t slot) const { return {slot, table_.Similarity(queries_ + q * table_.dim_, slot)}; }

  // The nearest of `slots`.
  std::optional<Hit> NearestOf(size_t q, absl::Span<const uint32_t> slots) const {
    float best = -std::numeric_limits<float>::infinity();
    for (const uint32_t slot : slots) best = std::max(best, Row(q, slot));
    std::optional<Hit> nearest;
    for (const uint32_t slot : slots) {
      if (Row(q, slot) >= best - margin_) Keep(HitOf(q, slot), nearest);
    }
    return nearest;
  }

  // The nearest of all slots, but not of those with value *except.
  std::optional<Hit> Nearest(size_t q, const int64_t* except) const {
    const auto excepted = [&](uint32_t slot) { return except != nullptr && table_.values_[slot] == *except; };
    float best = -std::numeric_limits<float>::infinity();
    ForBlocksFrom(q, [&] { return best; }, [&](uint32_t slot) {
      if (Row(q, slot) > best && !excepted(slot)) best = Row(q, slot);
    });
    std::optional<Hit> nearest;
    const float cut = best - margin_;
    ForBlocksFrom(q, [&] { return cut; }, [&](uint32_t slot) {
      if (Row(q, slot) >= cut && !excepted(slot)) Keep(HitOf(q, slot), nearest);
    });
    return nearest;
  }

  // Whether the slot is one of the k nearest.
  bool IsAmong(size_t q, const Hit& hit, size_t k) const {
    if (table_.size() <= k) return true;
    size_t ahead = 0;
    const float similarity = static_cast<float>(hit.similarity);
    ForBlocksFrom(q, [&] { return ahead < k ? similarity - margin_ : std::numeric_limits<float>::infinity(); },
                  [&](uint32_t slot) {
                    const float other = Row(q, slot);
                    if (other < similarity - margin_) return;
                    ahead += other > similarity + margin_ || HitOf(q, slot).Before(hit) ? 1 : 0;
                  });
    return ahead < k;
  }

 private:
  float Row(size_t q, uint32_t slot) const { return rows_[slot * kWidth + q]; }

  static void Keep(const Hit& hit, std::optional<Hit>& nearest) {
    if (!nearest.has_value() || hit.Before(*nearest)) nearest = hit;
  }

  // Calls `visit` on the slots of every block whose greatest similarity is at least cut() by then.
  template <typename Cut, typename Visit>
  void ForBlocksFrom(size_t q, Cut cut, Visit visit) const {
    for (size_t first = 0; first < table_.size(); first += kBlock) {
      if (greatest_[first / kBlock * kWidth + q] < cut()) continue;
      const size_t last = std::min(first + kBlock, table_.size());
      for (size_t slot = first; slot < last; ++slot) visit(static_cast<uint32_t>(slot));
    }
  }

  void FindGreatest(size_t block) {
    const size_t first = block * kBlock;
    HWY_DYNAMIC_DISPATCH(Greatest)(&rows_[first * kWidth], std::min(kBlock, table_.size() - first),
                                   &greatest_[block * kWidth]);
  }

  const RareEvents& table_;
  const float* queries_;
  float margin_;  // more than the rounding errors of two similarities
  std::vector<float> transposed_;
  std::vector<float> rows_;      // [slot][kWidth]
  std::vector<float> greatest_;  // [block][kWidth]
};

absl::StatusOr<RareEvents> RareEvents::FromColumns(size_t capacity, size_t dim, int64_t tick,
                                                   absl::Span<const float> keys, absl::Span<const int64_t> values,
                                                   absl::Span<const int64_t> last_used) {
  if (values.size() > capacity || keys.size() != values.size() * dim || last_used.size() != values.size()) {
    return absl::InvalidArgumentError(absl::StrCat("slots: ", values.size(), " values, ", last_used.size(),
                                                   " ticks and ", keys.size(), " key items do not fit a table of ",
                                                   capacity, " x ", dim));
  }
  RareEvents table(capacity, dim);
  table.tick_ = tick;
  table.keys_.assign(keys.begin(), keys.end());
  table.values_.assign(values.begin(), values.end());
  table.last_used_.assign(last_used.begin(), last_used.end());
  for (uint32_t slot = 0; slot < values.size(); ++slot) {
    if (last_used[slot] > tick) {
      return absl::InvalidArgumentError(
          absl::StrCat("last_used: ", last_used[slot], " of slot ", slot, " is above the tick, ", tick));
    }
    table.by_age_.emplace(last_used[slot], slot);
    table.slots_of_[values[slot]].push_back(slot);
  }
  return table;
}

absl::Status RareEvents::Check(absl::Span<const float> queries, absl::Span<const int64_t> labels,
                               const ObserveOptions& options) const {
  if (queries.size() % dim_ != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("queries: ", queries.size(), " items are not a whole number of rows of ", dim_));
  }
  if (!labels.empty() && labels.size() != queries.size() / dim_) {
    return absl::InvalidArgumentError(
        absl::StrCat("labels: ", labels.size(), " of them, but ", queries.size() / dim_, " queries"));
  }
  if (options.choose_k < 1) return absl::InvalidArgumentError("choose_k: 0 is below 1");
  if (!(options.alpha > 0.0)) {
    return absl::InvalidArgumentError(absl::StrCat("alpha: ", options.alpha, " is not above 0"));
  }
  if (!(options.age_noise >= 0.0)) {
    return absl::InvalidArgumentError(absl::StrCat("age_noise: ", options.age_noise, " is below 0"));
  }
  return absl::OkStatus();
}

double RareEvents::Similarity(const float* query, uint32_t slot) const {
  const float* key = keys_.data() + slot * dim_;
  double sum = 0.0;
  for (size_t i = 0; i < dim_; ++i) sum += static_cast<double>(query[i]) * static_cast<double>(key[i]);
  return sum;
}

void RareEvents::Touch(uint32_t slot) {
  by_age_.erase({last_used_[slot], slot});
  last_used_[slot] = tick_;
  by_age_.emplace(tick_, slot);
}

uint32_t RareEvents::Merge(const float* query, uint32_t slot) {
  float* key = keys_.data() + slot * dim_;
  std::vector<double> sum(dim_);
  for (size_t i = 0; i < dim_; ++i) sum[i] = static_cast<double>(query[i]) + static_cast<double>(key[i]);
  Normalise(sum.data(), dim_, key);
  Touch(slot);
  return slot;
}

uint32_t RareEvents::Oldest(const ObserveOptions& options, size_t item) const {
  const double reach = options.seed == 0 ? 0.0 : options.age_noise;
  const uint64_t seed = Mix(options.seed ^ Mix(static_cast<uint64_t>(tick_) ^ Mix(item)));
  double greatest = -std::numeric_limits<double>::infinity();
  uint32_t oldest = 0;
  for (const auto& [used, slot] : by_age_) {
    const double age = static_cast<double>(tick_ - used);
    if (age + reach < greatest) break;  // and so are all younger ones
    const double uniform = static_cast<double>(Mix(seed ^ slot) >> 11) * 0x1p-53;
    const double noisy = age + reach * (2.0 * uniform - 1.0);
    if (noisy > greatest || (noisy == greatest && slot < oldest)) {
      greatest = noisy;
      oldest = slot;
    }
    if (reach == 0.0) break;  // the set is in this order
  }
  return oldest;
}

uint32_t RareEvents::Insert(const float* query, int64_t label, const ObserveOptions& options, size_t item,
                            Observation& out) {
  uint32_t slot;
  if (size() < capacity_) {
    slot = static_cast<uint32_t>(size());
    keys_.insert(keys_.end(), query, query + dim_);
    values_.push_back(label);
    last_used_.push_back(tick_);
  } else {
    slot = Oldest(options, item);
    out.evicted = Observation::Evicted{values_[slot], tick_ - last_used_[slot]};
    std::vector<uint32_t>& former = slots_of_[values_[slot]];
    former.erase(std::find(former.begin(), former.end(), slot));
    if (former.empty()) slots_of_.erase(values_[slot]);
    std::copy_n(query, dim_, keys_.begin() + static_cast<std::ptrdiff_t>(slot * dim_));
    values_[slot] = label;
  }
  slots_of_[label].push_back(slot);
  Touch(slot);
  return slot;
}

absl::StatusOr<std::vector<Observation>> RareEvents::Observe(absl::Span<const float> queries,
                                                             absl::Span<const int64_t> labels,
                                                             const ObserveOptions& options) {
  RETURN_IF_ERROR(Check(queries, labels, options));
  const size_t count = queries.size() / dim_;
  std::vector<float> units(queries.size());
  std::vector<double> wide(dim_);
  for (size_t q = 0; q < count; ++q) {
    std::copy_n(queries.begin() + static_cast<std::ptrdiff_t>(q * dim_), dim_, wide.begin());
    if (!Normalise(wide.data(), dim_, units.data() + q * dim_)) {
      return absl::InvalidArgumentError(absl::StrCat("queries: row ", q, " is zero and has no direction"));
    }
  }
  const bool write = options.learn && !labels.empty();
  if (write && count > 0) ++tick_;
  const size_t pool = std::min(options.choose_k, capacity_);
  std::vector<Observation> observations(count);
  for (size_t first = 0; first < count; first += kWidth) {
    const size_t width = std::min(kWidth, count - first);
    const float* rows = units.data() + first * dim_;
    Chunk chunk(*this, rows, width);
    for (size_t q = 0; q < width; ++q) {
      Observation& out = observations[first + q];
      const int64_t* label = labels.empty() ? nullptr : &labels[first + q];
      std::optional<Hit> nearest = chunk.Nearest(q, label);
      if (label != nullptr) {
        // Slots with another value: of those, the nearest is behind none but slots with value y.
        std::optional<Hit> neg = nearest;
        std::optional<Hit> pos;
        if (const auto found = slots_of_.find(*label); found != slots_of_.end()) {
          pos = chunk.NearestOf(q, found->second);
          if (!neg.has_value() || pos->Before(*neg)) nearest = pos;
          if (!chunk.IsAmong(q, *pos, pool)) {
            pos = chunk.HitOf(q, *std::min_element(found->second.begin(), found->second.end(),
                                                   [this](uint32_t a, uint32_t b) {
                                                     return std::pair(-last_used_[a], a) < std::pair(-last_used_[b], b);
                                                   }));
          }
          if (neg.has_value() && found->second.size() >= pool && !chunk.IsAmong(q, *neg, pool)) neg.reset();
        }
        out.pos = pos.has_value() ? pos->similarity : 0.0;
        out.neg = neg.has_value() ? neg->similarity : 0.0;
        out.loss = std::max(0.0, out.neg - out.pos + options.alpha) - options.alpha;
      }
      if (nearest.has_value()) {
        out.slot = nearest->slot;
        out.value = values_[nearest->slot];
        out.similarity = nearest->similarity;
        out.correct = label != nullptr && out.value == *label;
      }
      if (options.want_mask) {
        std::vector<Hit> hits;
        for (uint32_t slot = 0; slot < size(); ++slot) hits.push_back(chunk.HitOf(q, slot));
        const size_t kept = std::min(pool, hits.size());
        std::partial_sort(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(kept), hits.end(),
                          [](const Hit& a, const Hit& b) { return a.Before(b); });
        const double sharpness = std::max(1.0, std::log(0.2 * static_cast<double>(pool)) / options.alpha);
        double total = 0.0;
        for (size_t i = 0; i < kept; ++i) {
          out.mask.emplace_back(hits[i].slot, std::exp(sharpness * (hits[i].similarity - hits[0].similarity)));
          total += out.mask.back().second;
        }
        for (auto& [slot, weight] : out.mask) weight /= total;
      }
      if (!write) continue;
      const float* query = rows + q * dim_;
      out.action = out.correct ? ObserveAction::kMerged : ObserveAction::kInserted;
      out.written_slot = out.correct ? Merge(query, *out.slot) : Insert(query, *label, options, first + q, out);
      chunk.Update(*out.written_slot);
    }
  }
  return observations;
}

}  // namespace mneme
#endif  // HWY_ONCE
