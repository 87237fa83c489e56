#include "index/tail_lists.h"

#include <numeric>
#include <utility>

#include "common/vector_codec.h"

namespace mneme {
namespace {

// Keys that are decoded and assigned at once.
constexpr size_t kBatch = 512;

// The list of each row of a chunk below `count`; what `older` knows is not asked again.
std::vector<uint32_t> AssignRows(const RowBlock& rows, const IndexSpec& spec, const Codebook& codebook,
                                 const TailLists* older) {
  std::vector<uint32_t> list_of(rows.count);
  size_t known = 0;
  if (older != nullptr && older->codebook == codebook.number()) {
    known = older->count;
    for (uint32_t list = 0; list + 1 < older->offsets.size(); ++list) {
      for (const uint32_t position : older->Of(list)) list_of[position] = list;
    }
  }
  std::vector<float> keys(kBatch * spec.dimension);
  for (size_t first = known; first < rows.count; first += kBatch) {
    const size_t taken = std::min(kBatch, rows.count - first);
    DecodeVector(spec.key_dtype, rows.keys + first * spec.KeyBytes(), taken * spec.dimension, keys.data());
    codebook.Assign(keys.data(), taken, list_of.data() + first);
  }
  return list_of;
}

std::shared_ptr<const TailLists> MakeLists(const std::vector<uint32_t>& list_of, const Codebook& codebook) {
  auto lists = std::make_shared<TailLists>();
  lists->codebook = codebook.number();
  lists->count = list_of.size();
  lists->offsets.assign(size_t{codebook.lists()} + 1, 0);
  for (const uint32_t list : list_of) ++lists->offsets[list + 1];
  std::partial_sum(lists->offsets.begin(), lists->offsets.end(), lists->offsets.begin());
  lists->positions.resize(list_of.size());
  std::vector<uint32_t> next(lists->offsets.begin(), lists->offsets.end() - 1);
  for (uint32_t position = 0; position < list_of.size(); ++position) {
    lists->positions[next[list_of[position]]++] = position;
  }
  return lists;
}

}  // namespace

void SortTail(const IndexVersion& version, const IndexSpec& spec, size_t least_rows) {
  if (version.codebook == nullptr) return;
  for (const Tail::Snapshot::Part& part : version.tail.parts) {
    const std::shared_ptr<const TailLists> older = ListsOf(part);
    const bool current = older != nullptr && older->codebook == version.codebook->number();
    const size_t known = current ? older->count : 0;
    if (known >= part.count || (part.count - known < least_rows && !IsFull(part))) continue;
    SetListsOf(part, MakeLists(AssignRows(BlockOf(part, 0), spec, *version.codebook, older.get()), *version.codebook));
  }
}

}  // namespace mneme
