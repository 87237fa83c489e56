// Reading. The envelope vouches for the bytes; here the sections are checked against each other, so that not even a
// file that was written wrongly can lead a reader out of its map.
#include "index/segment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "index/segment_format.h"

namespace mneme {

struct Segment::State {
  IndexSpec spec;
  StoredSegmentMeta meta;
  std::unique_ptr<Envelope> file;
  absl::Span<const uint64_t> offsets;
  absl::Span<const double> list_max_norms;
  absl::Span<const uint32_t> by_row;
  absl::Span<const uint32_t> by_label;
  absl::Span<const uint32_t> by_source;
  absl::Span<const uint32_t> by_id;
  RowBlock all;
  const char* codes = nullptr;
  size_t code_block_bytes = 0;
  std::vector<uint64_t> code_offsets;  // [lists]

  absl::Status LoadCodes(const std::string& path);
  absl::Status Load(const std::string& path);
  absl::Status LoadColumns(const std::string& path);
  absl::Status LoadValues(const std::string& path);
  absl::Status CheckLists(const std::string& path) const;
  absl::Status LoadOrders(const std::string& path);
  absl::Status CheckRows(const std::string& path) const;

  // Sets `column` to section `id`, which must hold `count` elements.
  template <typename T>
  absl::Status Column(const std::string& path, uint32_t id, size_t count, const T** column) const {
    const std::string_view bytes = file->Section(id);
    if (bytes.size() / sizeof(T) != count || bytes.size() % sizeof(T) != 0) {
      return absl::DataLossError(absl::StrCat(path, ": section ", id, " has ", bytes.size(), " bytes; must have ",
                                              count, " x ", sizeof(T)));
    }
    *column = reinterpret_cast<const T*>(bytes.data());
    return absl::OkStatus();
  }
  template <typename T>
  absl::Status OptionalColumn(const std::string& path, uint32_t id, const T** column) const {
    if (file->Section(id).empty()) return absl::OkStatus();
    return Column(path, id, meta.rows, column);
  }

  // Sets `order` to section `id`, the positions in the order of `column`, where the file has it.
  template <typename T>
  absl::Status Order(const std::string& path, uint32_t id, const T* column, absl::Span<const uint32_t>* order) const {
    const uint32_t* positions = nullptr;
    RETURN_IF_ERROR(OptionalColumn(path, id, &positions));
    if (positions == nullptr) return absl::OkStatus();
    // Strictly ascending pairs are a permutation.
    for (uint64_t i = 0; i < meta.rows; ++i) {
      const bool inside = column != nullptr && positions[i] < meta.rows;
      if (inside && i == 0) continue;
      if (!inside ||
          std::pair(column[positions[i - 1]], positions[i - 1]) >= std::pair(column[positions[i]], positions[i])) {
        return absl::DataLossError(absl::StrCat(path, ": section ", id, " does not order its column"));
      }
    }
    *order = {positions, static_cast<size_t>(meta.rows)};
    return absl::OkStatus();
  }
};

namespace {

bool Ascends(absl::Span<const uint64_t> offsets, uint64_t last) {
  return offsets.front() == 0 && offsets.back() == last && std::is_sorted(offsets.begin(), offsets.end());
}

absl::Status Inconsistent(const std::string& path, const char* what) {
  return absl::DataLossError(absl::StrCat(path, ": ", what));
}

}  // namespace

absl::Status Segment::State::CheckLists(const std::string& path) const {
  if (!Ascends(offsets, meta.rows)) return Inconsistent(path, "its list offsets do not ascend to its rows");
  for (const double norm : list_max_norms) {
    if (!(norm >= 0.0) || std::isinf(norm)) return Inconsistent(path, "a list has no finite norm");
  }
  return absl::OkStatus();
}

// by_row must be a permutation that sorts the rows strictly: that finds repeated rows and repeated positions at once.
absl::Status Segment::State::CheckRows(const std::string& path) const {
  Row next = meta.first_row;
  for (const uint32_t position : by_row) {
    if (position >= meta.rows || all.rows[position] < next || all.rows[position] >= meta.end_row) {
      return Inconsistent(path, "its rows do not ascend within its bounds");
    }
    next = all.rows[position] + 1;
  }
  return absl::OkStatus();
}

absl::Status Segment::State::LoadOrders(const std::string& path) {
  RETURN_IF_ERROR(Order(path, kSegmentByLabel, all.labels, &by_label));
  RETURN_IF_ERROR(Order(path, kSegmentBySource, all.sources, &by_source));
  RETURN_IF_ERROR(Order(path, kSegmentById, all.ids, &by_id));
  const auto ids_ascend = [this](uint32_t a, uint32_t b) { return all.ids[a] < all.ids[b]; };
  if (by_id.empty() && std::is_sorted(by_row.begin(), by_row.end(), ids_ascend)) by_id = by_row;
  return absl::OkStatus();
}

absl::Status Segment::State::LoadValues(const std::string& path) {
  const std::string_view values = file->Section(kSegmentValues);
  all.values = values.data();
  if (spec.value_bytes != 0) {
    if (values.size() / spec.value_bytes == meta.rows && values.size() % spec.value_bytes == 0) return absl::OkStatus();
    return Inconsistent(path, "its values have another size");
  }
  RETURN_IF_ERROR(Column(path, kSegmentValueOffsets, meta.rows + 1, &all.value_offsets));
  if (Ascends({all.value_offsets, static_cast<size_t>(meta.rows) + 1}, values.size())) return absl::OkStatus();
  return Inconsistent(path, "its value offsets do not ascend to its values");
}

absl::Status Segment::State::LoadColumns(const std::string& path) {
  all.count = meta.rows;
  all.sparse_map = file->sparse_map();
  RETURN_IF_ERROR(Column(path, kSegmentKeys, meta.rows * spec.KeyBytes(), &all.keys));
  RETURN_IF_ERROR(Column(path, kSegmentIds, meta.rows, &all.ids));
  RETURN_IF_ERROR(Column(path, kSegmentRows, meta.rows, &all.rows));
  if (spec.metric == Metric::kCosine) {
    RETURN_IF_ERROR(Column(path, kSegmentInverseNorms, meta.rows, &all.inverse_norms));
  }
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentWeights, &all.weights));
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentScores, &all.scores));
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentLabels, &all.labels));
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentSources, &all.sources));
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentPositions, &all.positions));
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentExpiries, &all.expiries_ms));
  RETURN_IF_ERROR(OptionalColumn(path, kSegmentCreated, &all.created_ms));
  return LoadValues(path);
}

absl::Status Segment::State::LoadCodes(const std::string& path) {
  if (file->Section(kSegmentCodeShape).empty()) return absl::OkStatus();
  const StoredCodeShape* shape = nullptr;
  RETURN_IF_ERROR(Column(path, kSegmentCodeShape, 1, &shape));
  if (shape->block_rows != kCodeBlockRows) return Inconsistent(path, "its codes have blocks of another length");
  uint64_t bytes = 0;
  code_offsets.resize(meta.lists);
  for (uint32_t list = 0; list < meta.lists; ++list) {
    code_offsets[list] = bytes;
    bytes += CodeBlocks(offsets[list + 1] - offsets[list]) * uint64_t{shape->block_bytes};
  }
  const std::string_view section = file->Section(kSegmentCodes);
  if (section.size() != bytes) return Inconsistent(path, "its codes have another size");
  codes = section.data();
  code_block_bytes = shape->block_bytes;
  return absl::OkStatus();
}

absl::Status Segment::State::Load(const std::string& path) {
  const StoredSegmentMeta* stored = nullptr;
  RETURN_IF_ERROR(Column(path, kSegmentMeta, 1, &stored));
  meta = *stored;
  if (!meta.Fits(spec)) return Inconsistent(path, "its dimension, metric, key or value type is another");
  // Bounds every product of sizes below.
  if (meta.first_row > meta.end_row || meta.rows > meta.end_row - meta.first_row ||
      meta.rows > std::numeric_limits<uint32_t>::max()) {
    return Inconsistent(path, "its number of rows is not possible");
  }
  const uint64_t* list_offsets = nullptr;
  const double* norms = nullptr;
  const uint32_t* positions = nullptr;
  RETURN_IF_ERROR(Column(path, kSegmentListOffsets, size_t{meta.lists} + 1, &list_offsets));
  RETURN_IF_ERROR(Column(path, kSegmentListMaxNorms, meta.lists, &norms));
  RETURN_IF_ERROR(Column(path, kSegmentByRow, meta.rows, &positions));
  offsets = {list_offsets, size_t{meta.lists} + 1};
  list_max_norms = {norms, meta.lists};
  by_row = {positions, static_cast<size_t>(meta.rows)};
  RETURN_IF_ERROR(CheckLists(path));
  RETURN_IF_ERROR(LoadColumns(path));
  RETURN_IF_ERROR(LoadCodes(path));
  for (const double norm : list_max_norms) all.max_norm = std::max(all.max_norm, norm);
  RETURN_IF_ERROR(CheckRows(path));
  return LoadOrders(path);
}

Segment::Segment(std::unique_ptr<State> state) : state_(std::move(state)) {}
Segment::~Segment() = default;

absl::StatusOr<std::shared_ptr<const Segment>> Segment::Open(const std::string& path, const IndexSpec& spec,
                                                             const EnvelopeIdentity& identity) {
  auto state = std::make_unique<State>();
  state->spec = spec;
  ASSIGN_OR_RETURN(state->file, Envelope::Open(path, EnvelopeKind::kSegment, identity));
  RETURN_IF_ERROR(state->Load(path));
  state->file->LetGo();  // searches want the codes and some of the keys; checks have read all
  return std::shared_ptr<const Segment>(new Segment(std::move(state)));
}

Row Segment::first_row() const { return state_->meta.first_row; }
Row Segment::end_row() const { return state_->meta.end_row; }
uint64_t Segment::rows() const { return state_->meta.rows; }
uint64_t Segment::codebook_number() const { return state_->meta.codebook_number; }
uint64_t Segment::file_bytes() const { return state_->file->file_bytes(); }
uint32_t Segment::lists() const { return state_->meta.lists; }
RowBlock Segment::All() const { return state_->all; }

RowBlock Segment::List(uint32_t list) const {
  const uint64_t first = state_->offsets[list];
  RowBlock block = state_->all.Slice(first, state_->offsets[list + 1] - first, state_->spec);
  block.max_norm = state_->list_max_norms[list];
  return block;
}

uint32_t Segment::ListAt(size_t position) const {
  const auto after = std::upper_bound(state_->offsets.begin(), state_->offsets.end(), uint64_t{position});
  return static_cast<uint32_t>(after - state_->offsets.begin() - 1);
}

absl::Span<const uint32_t> Segment::ByLabel() const { return state_->by_label; }
absl::Span<const uint32_t> Segment::BySource() const { return state_->by_source; }
absl::Span<const uint32_t> Segment::ById() const { return state_->by_id; }

const char* Segment::Codes(uint32_t list) const {
  return state_->codes == nullptr ? nullptr : state_->codes + state_->code_offsets[list];
}
size_t Segment::code_block_bytes() const { return state_->code_block_bytes; }

std::optional<size_t> Segment::PositionOf(Row row) const {
  const auto found = std::lower_bound(state_->by_row.begin(), state_->by_row.end(), row,
                                      [this](uint32_t position, Row wanted) {
                                        return state_->all.rows[position] < wanted;
                                      });
  if (found == state_->by_row.end() || state_->all.rows[*found] != row) return std::nullopt;
  return *found;
}

}  // namespace mneme
