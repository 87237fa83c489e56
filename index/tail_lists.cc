#include "index/tail_lists.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/vector_codec.h"

namespace mneme {
namespace {

// Keys that are decoded and assigned at once.
constexpr size_t kBatch = 512;

// The list of each row of the tail from `first` on.
std::vector<uint32_t> AssignRows(const IndexVersion& version, const IndexSpec& spec, Row first) {
  std::vector<uint32_t> list_of(version.tail.end_row - first);
  std::vector<float> keys(kBatch * spec.dimension);
  size_t done = 0;
  for (const Tail::Snapshot::Part& part : version.tail.parts) {
    const RowBlock rows = BlockOf(part, first);
    for (size_t at = 0; at < rows.count; at += kBatch) {
      const size_t taken = std::min(kBatch, rows.count - at);
      DecodeVector(spec.key_dtype, rows.keys + at * spec.KeyBytes(), taken * spec.dimension, keys.data());
      version.codebook->Assign(keys.data(), taken, list_of.data() + done);
      done += taken;
    }
  }
  return list_of;
}

// The rows [first, known) as `older` has them, and those from `known` on in the lists that `list_of` names.
std::shared_ptr<const TailLists> MakeLists(const Codebook& codebook, Row first, Row known, const TailLists* older,
                                           const std::vector<uint32_t>& list_of) {
  auto lists = std::make_shared<TailLists>();
  lists->codebook = codebook.number();
  lists->first_row = first;
  lists->end_row = known + list_of.size();
  // By a counting sort, the newer rows alone: begins[list] is where those of a list stand among them.
  std::vector<uint32_t> begins(size_t{codebook.lists()} + 1, 0);
  for (const uint32_t list : list_of) ++begins[list + 1];
  std::partial_sum(begins.begin(), begins.end(), begins.begin());
  std::vector<uint32_t> newer(list_of.size());
  std::vector<uint32_t> next(begins.begin(), begins.end() - 1);
  const uint32_t newer_from = static_cast<uint32_t>(known - first);
  for (uint32_t i = 0; i < list_of.size(); ++i) newer[next[list_of[i]]++] = newer_from + i;

  lists->rows.reserve(lists->end_row - first);
  lists->offsets.reserve(begins.size());
  lists->offsets.push_back(0);
  for (uint32_t list = 0; list < codebook.lists(); ++list) {
    if (known > first) {
      const uint32_t gone = static_cast<uint32_t>(first - older->first_row);
      for (const uint32_t row : older->Within(list, first, known)) lists->rows.push_back(row - gone);
    }
    lists->rows.insert(lists->rows.end(), newer.begin() + begins[list], newer.begin() + begins[list + 1]);
    lists->offsets.push_back(static_cast<uint32_t>(lists->rows.size()));
  }
  return lists;
}

}  // namespace

absl::Span<const uint32_t> TailLists::Within(uint32_t list, Row first, Row end) const {
  absl::Span<const uint32_t> within = Of(list);
  if (first > first_row) {
    within.remove_prefix(std::lower_bound(within.begin(), within.end(), first - first_row) - within.begin());
  }
  if (end < end_row) {
    within = within.first(std::lower_bound(within.begin(), within.end(), end - first_row) - within.begin());
  }
  return within;
}

std::vector<uint32_t> TailLists::ListOfEachRow() const {
  std::vector<uint32_t> list_of(rows.size());
  for (uint32_t list = 0; list + 1 < offsets.size(); ++list) {
    for (const uint32_t row : Of(list)) list_of[row] = list;
  }
  return list_of;
}

std::shared_ptr<const TailLists> CurrentListsOf(const IndexVersion& version) {
  if (version.codebook == nullptr) return nullptr;
  std::shared_ptr<const TailLists> lists = ListsOf(version.tail);
  const bool current = lists != nullptr && lists->codebook == version.codebook->number() &&
                       lists->first_row < version.tail.end_row && lists->end_row > version.tail_from;
  return current ? lists : nullptr;
}

void SortTail(const IndexVersion& version, const IndexSpec& spec, size_t least_rows) {
  if (version.codebook == nullptr) return;
  const std::shared_ptr<const TailLists> older = CurrentListsOf(version);
  const Row first = std::max({version.tail_from, version.tail.first_row, older == nullptr ? 0 : older->first_row});
  const Row known = older == nullptr ? first : std::max(first, older->end_row);
  if (known >= version.tail.end_row || version.tail.end_row - known < least_rows) return;
  SetListsOf(version.tail,
             MakeLists(*version.codebook, first, known, older.get(), AssignRows(version, spec, known)));
}

}  // namespace mneme
