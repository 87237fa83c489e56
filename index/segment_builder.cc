// 1. Add: every row gets its list from the codebook, a batch of keys at a time; ram keeps its small columns.
// 2. Begin: a counting sort by list keeps rows ascending within each list; the small columns are written in that order,
//    and room for keys and values is mapped.
// 3. Place: every key and value goes to its place.
// 4. Finish: the codes are made of the keys, list by list.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/columns.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "index/kernels/exact_distance.h"
#include "index/key_norms.h"
#include "index/segment.h"
#include "index/segment_format.h"

namespace mneme {
namespace {

// Keys assigned at once.
constexpr size_t kBatch = 256;

template <typename T>
std::string_view AsBytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// A column that stays absent while every row has the default.
template <typename T>
void AppendOptional(std::vector<T>& column, size_t count, T value, T absent) {
  if (column.empty() && value == absent) return;
  if (column.empty()) column.assign(count, absent);
  column.push_back(value);
}

}  // namespace

struct SegmentBuilder::State {
  IndexSpec spec;
  std::shared_ptr<const Codebook> codebook;
  Row first_row = 0;
  Row end_row = 0;

  // In order of arrival.
  std::vector<Row> rows;
  std::vector<EntryId> ids;
  std::vector<uint32_t> list_of;
  std::vector<float> inverse_norms;
  std::vector<uint32_t> value_sizes;  // values of no fixed width only
  std::vector<float> weights;
  std::vector<double> scores;
  std::vector<int64_t> labels;
  std::vector<uint64_t> sources;
  std::vector<uint64_t> positions;
  std::vector<int64_t> expiries_ms;
  std::vector<int64_t> created_ms;

  // Keys whose lists are not known yet: f32, and the arrivals that they are of.
  std::vector<float> waiting_keys;
  std::vector<uint32_t> waiting;

  std::vector<uint64_t> list_offsets;
  std::vector<double> list_max_norms;
  std::vector<double> norms;          // until the lists are known
  std::vector<uint32_t> place_of;     // place_of[arrival]: where the row stands in the file
  std::vector<uint64_t> value_offsets;  // in file order
  std::unique_ptr<EnvelopeWriter> writer;
  char* keys = nullptr;               // mapped
  char* values = nullptr;
  size_t next_arrival = 0;            // of Place

  void AssignWaiting();
  void SortByList();
  absl::Status WriteShape();
  absl::Status WriteColumns();
  absl::Status MapValues();
  absl::Status WriteCodes(const std::function<bool()>& cancelled);
  void DecodeUnit(uint64_t place, float* key) const;

  // Writes the places in the order of `column`, unless it is absent.
  template <typename T>
  absl::Status WriteOrder(uint32_t section, const std::vector<T>& column) const {
    if (column.empty()) return absl::OkStatus();
    std::vector<uint32_t> order(column.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return column[a] != column[b] ? column[a] < column[b] : place_of[a] < place_of[b];
    });
    for (uint32_t& arrival : order) arrival = place_of[arrival];
    return writer->AddSection(section, AsBytes(order));
  }

  // Writes `column` in file order, unless it is absent.
  template <typename T>
  absl::Status WriteColumn(uint32_t section, const std::vector<T>& column) const {
    if (column.empty()) return absl::OkStatus();
    std::vector<T> placed(column.size());
    for (size_t i = 0; i < column.size(); ++i) placed[place_of[i]] = column[i];
    return writer->AddSection(section, AsBytes(placed));
  }
};

SegmentBuilder::SegmentBuilder(const IndexSpec& spec, std::shared_ptr<const Codebook> codebook, Row first_row,
                               Row end_row)
    : state_(std::make_unique<State>()) {
  state_->spec = spec;
  state_->codebook = std::move(codebook);
  state_->first_row = first_row;
  state_->end_row = end_row;
}

SegmentBuilder::~SegmentBuilder() = default;

uint64_t SegmentBuilder::rows() const { return state_->rows.size(); }

void SegmentBuilder::Add(Row row, const EntryView& entry, std::optional<uint32_t> list) {
  State& s = *state_;
  const Attributes absent;
  const Attributes& a = entry.attributes;
  const size_t count = s.rows.size();
  s.rows.push_back(row);
  s.ids.push_back(entry.id);
  if (s.spec.value_bytes == 0) s.value_sizes.push_back(static_cast<uint32_t>(entry.value.size()));
  AppendOptional(s.weights, count, a.weight, absent.weight);
  AppendOptional(s.scores, count, a.score, absent.score);
  AppendOptional(s.labels, count, a.label, absent.label);
  AppendOptional(s.sources, count, a.source, absent.source);
  AppendOptional(s.positions, count, a.position, absent.position);
  AppendOptional(s.expiries_ms, count, a.expiry_ms, absent.expiry_ms);
  AppendOptional(s.created_ms, count, a.created_ms, absent.created_ms);
  const double norm = ExactNorm({s.spec.metric, s.spec.key_dtype, s.spec.dimension}, entry.key.data());
  s.norms.push_back(norm);
  if (s.spec.metric == Metric::kCosine) s.inverse_norms.push_back(InverseNorm(norm));
  s.list_of.push_back(list.value_or(0));
  if (list.has_value()) return;
  s.waiting.push_back(static_cast<uint32_t>(count));
  s.waiting_keys.resize(s.waiting.size() * s.spec.dimension);
  DecodeVector(s.spec.key_dtype, entry.key.data(), s.spec.dimension,
               s.waiting_keys.data() + (s.waiting.size() - 1) * s.spec.dimension);
  if (s.waiting.size() == kBatch) s.AssignWaiting();
}

void SegmentBuilder::State::AssignWaiting() {
  std::vector<uint32_t> lists(waiting.size());
  codebook->Assign(waiting_keys.data(), waiting.size(), lists.data());
  for (size_t i = 0; i < waiting.size(); ++i) list_of[waiting[i]] = lists[i];
  waiting.clear();
  waiting_keys.clear();
}

void SegmentBuilder::State::SortByList() {
  AssignWaiting();
  list_offsets.assign(size_t{codebook->lists()} + 1, 0);
  list_max_norms.assign(codebook->lists(), 0.0);
  for (size_t i = 0; i < rows.size(); ++i) {
    ++list_offsets[list_of[i] + 1];
    list_max_norms[list_of[i]] = std::max(list_max_norms[list_of[i]], NormBound(norms[i]));
  }
  norms = std::vector<double>();
  std::partial_sum(list_offsets.begin(), list_offsets.end(), list_offsets.begin());
  std::vector<uint64_t> next(list_offsets.begin(), list_offsets.end() - 1);
  place_of.resize(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) place_of[i] = static_cast<uint32_t>(next[list_of[i]]++);
}

absl::Status SegmentBuilder::State::WriteShape() {
  StoredSegmentMeta meta;
  meta.first_row = first_row;
  meta.end_row = end_row;
  meta.rows = rows.size();
  meta.codebook_number = codebook->number();
  meta.value_bytes = spec.value_bytes;
  meta.lists = codebook->lists();
  meta.dimension = spec.dimension;
  meta.metric = static_cast<uint32_t>(spec.metric);
  meta.key_dtype = static_cast<uint32_t>(spec.key_dtype);
  RETURN_IF_ERROR(writer->AddSection(kSegmentMeta, {reinterpret_cast<const char*>(&meta), sizeof(meta)}));
  RETURN_IF_ERROR(writer->AddSection(kSegmentListOffsets, AsBytes(list_offsets)));
  RETURN_IF_ERROR(writer->AddSection(kSegmentListMaxNorms, AsBytes(list_max_norms)));
  // Rows arrive ascending, so places in order of arrival are places by row.
  return writer->AddSection(kSegmentByRow, AsBytes(place_of));
}

absl::Status SegmentBuilder::State::WriteColumns() {
  RETURN_IF_ERROR(WriteColumn(kSegmentInverseNorms, inverse_norms));
  RETURN_IF_ERROR(WriteColumn(kSegmentIds, ids));
  RETURN_IF_ERROR(WriteColumn(kSegmentRows, rows));
  RETURN_IF_ERROR(WriteColumn(kSegmentWeights, weights));
  RETURN_IF_ERROR(WriteColumn(kSegmentScores, scores));
  RETURN_IF_ERROR(WriteColumn(kSegmentLabels, labels));
  RETURN_IF_ERROR(WriteColumn(kSegmentSources, sources));
  RETURN_IF_ERROR(WriteColumn(kSegmentPositions, positions));
  RETURN_IF_ERROR(WriteColumn(kSegmentExpiries, expiries_ms));
  RETURN_IF_ERROR(WriteColumn(kSegmentCreated, created_ms));
  RETURN_IF_ERROR(WriteOrder(kSegmentByLabel, labels));
  RETURN_IF_ERROR(WriteOrder(kSegmentBySource, sources));
  if (std::is_sorted(ids.begin(), ids.end())) return absl::OkStatus();
  return WriteOrder(kSegmentById, ids);
}

absl::Status SegmentBuilder::State::MapValues() {
  if (spec.value_bytes != 0) {
    ASSIGN_OR_RETURN(values, writer->MapSection(kSegmentValues, rows.size() * spec.value_bytes));
    return absl::OkStatus();
  }
  value_offsets.assign(rows.size() + 1, 0);
  for (size_t i = 0; i < rows.size(); ++i) value_offsets[place_of[i] + 1] = value_sizes[i];
  std::partial_sum(value_offsets.begin(), value_offsets.end(), value_offsets.begin());
  ASSIGN_OR_RETURN(values, writer->MapSection(kSegmentValues, value_offsets.back()));
  return writer->AddSection(kSegmentValueOffsets, AsBytes(value_offsets));
}

absl::Status SegmentBuilder::Begin(const std::string& path, const EnvelopeIdentity& identity) {
  State& s = *state_;
  if (s.rows.size() > std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError(absl::StrCat("a segment of ", s.rows.size(), " rows; must be below 2^32"));
  }
  s.SortByList();
  ASSIGN_OR_RETURN(s.writer, EnvelopeWriter::New(path, EnvelopeKind::kSegment, identity));
  RETURN_IF_ERROR(s.WriteShape());
  ASSIGN_OR_RETURN(s.keys, s.writer->MapSection(kSegmentKeys, s.rows.size() * s.spec.KeyBytes()));
  RETURN_IF_ERROR(s.WriteColumns());
  return s.MapValues();
}

void SegmentBuilder::Place(Row row, const EntryView& entry) {
  State& s = *state_;
  while (s.next_arrival < s.rows.size() && s.rows[s.next_arrival] < row) ++s.next_arrival;
  if (s.next_arrival == s.rows.size() || s.rows[s.next_arrival] != row) return;
  const uint64_t place = s.place_of[s.next_arrival];
  std::memcpy(s.keys + place * s.spec.KeyBytes(), entry.key.data(), entry.key.size());
  if (entry.value.empty()) return;
  const uint64_t offset = s.spec.value_bytes != 0 ? place * s.spec.value_bytes : s.value_offsets[place];
  std::memcpy(s.values + offset, entry.value.data(), entry.value.size());
}

// The key at `place` as codecs take it: of unit length for cosine.
void SegmentBuilder::State::DecodeUnit(uint64_t place, float* key) const {
  const char* stored = keys + place * spec.KeyBytes();
  DecodeVector(spec.key_dtype, stored, spec.dimension, key);
  if (spec.metric != Metric::kCosine) return;
  const double norm = ExactNorm({spec.metric, spec.key_dtype, spec.dimension}, stored);
  for (size_t c = 0; c < spec.dimension && norm > 0.0; ++c) key[c] = static_cast<float>(key[c] / norm);
}

absl::Status SegmentBuilder::State::WriteCodes(const std::function<bool()>& cancelled) {
  const Codec* codec = codebook->codec();
  if (codec == nullptr) return absl::OkStatus();
  const size_t d = spec.dimension;
  const StoredCodeShape shape{static_cast<uint32_t>(codec->block_bytes()), kCodeBlockRows};
  RETURN_IF_ERROR(writer->AddSection(kSegmentCodeShape, {reinterpret_cast<const char*>(&shape), sizeof(shape)}));
  RETURN_IF_ERROR(writer->BeginSection(kSegmentCodes));
  std::vector<float> decoded(kCodeBlockRows * d);
  std::vector<char> block(codec->block_bytes());
  for (uint32_t list = 0; list < codebook->lists(); ++list) {
    if (cancelled && cancelled()) return absl::CancelledError("writing a segment was cancelled");
    for (uint64_t first = list_offsets[list]; first < list_offsets[list + 1]; first += kCodeBlockRows) {
      const size_t taken = std::min<size_t>(kCodeBlockRows, list_offsets[list + 1] - first);
      for (size_t i = 0; i < taken; ++i) DecodeUnit(first + i, decoded.data() + i * d);
      codec->Encode(codebook->Centroid(list), decoded.data(), taken, block.data());
      RETURN_IF_ERROR(writer->Append({block.data(), block.size()}));
    }
  }
  return absl::OkStatus();
}

absl::Status SegmentBuilder::Finish(const std::function<bool()>& cancelled) {
  RETURN_IF_ERROR(state_->WriteCodes(cancelled));
  return state_->writer->Finish().status();
}

}  // namespace mneme
