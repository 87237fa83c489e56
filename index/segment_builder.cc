// Writing, in numbered steps:
// 1. every key gets its list from the codebook;
// 2. a counting sort by list keeps rows ascending within each list;
// 3. each column is gathered in that order and written as a section.
#include <algorithm>
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

// Keys assigned, and rows gathered, between two looks at `cancelled`.
constexpr size_t kBatch = 1024;

template <typename T>
std::string_view AsBytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

struct SegmentBuilder::State {
  IndexSpec spec;
  std::shared_ptr<const Codebook> codebook;
  Row first_row = 0;
  Row end_row = 0;
  EntryColumns entries;
  std::vector<Row> rows;

  std::vector<uint64_t> list_offsets;
  std::vector<double> list_max_norms;
  std::vector<float> inverse_norms;  // in order of arrival
  std::vector<uint32_t> order;       // order[position in the file] = order of arrival

  absl::Status AssignLists(const std::function<bool()>& cancelled);
  absl::Status WriteShape(EnvelopeWriter& writer) const;
  absl::Status WriteColumns(EnvelopeWriter& writer, const std::function<bool()>& cancelled) const;
  absl::Status WriteValues(EnvelopeWriter& writer) const;
  absl::Status WriteCodes(EnvelopeWriter& writer, const std::function<bool()>& cancelled) const;

  void DecodeUnit(uint32_t i, float* key) const;

  // Writes `column` in file order, unless it is absent.
  template <typename T>
  absl::Status WriteColumn(EnvelopeWriter& writer, uint32_t section, const std::vector<T>& column) const {
    if (column.empty()) return absl::OkStatus();
    std::vector<T> gathered(order.size());
    for (size_t i = 0; i < order.size(); ++i) gathered[i] = column[order[i]];
    return writer.AddSection(section, AsBytes(gathered));
  }
};

SegmentBuilder::SegmentBuilder(const IndexSpec& spec, std::shared_ptr<const Codebook> codebook, Row first_row,
                               Row end_row)
    : state_(std::make_unique<State>()) {
  state_->spec = spec;
  state_->codebook = std::move(codebook);
  state_->first_row = first_row;
  state_->end_row = end_row;
  state_->entries.values.width = spec.value_bytes;
}

SegmentBuilder::~SegmentBuilder() = default;

void SegmentBuilder::Add(Row row, const EntryView& entry) {
  state_->entries.Append(entry);
  state_->rows.push_back(row);
}

absl::Status SegmentBuilder::State::AssignLists(const std::function<bool()>& cancelled) {
  const size_t count = entries.count;
  const KeyShape shape{spec.metric, spec.key_dtype, spec.dimension};
  std::vector<uint32_t> list_of(count);
  list_offsets.assign(size_t{codebook->lists()} + 1, 0);
  list_max_norms.assign(codebook->lists(), 0.0);
  if (spec.metric == Metric::kCosine) inverse_norms.resize(count);
  std::vector<float> decoded(kBatch * spec.dimension);
  for (size_t first = 0; first < count; first += kBatch) {
    if (cancelled && cancelled()) return absl::CancelledError("building a segment was cancelled");
    const size_t batch = std::min(kBatch, count - first);
    const char* keys = entries.keys.data() + first * spec.KeyBytes();
    DecodeVector(spec.key_dtype, keys, batch * spec.dimension, decoded.data());
    codebook->Assign(decoded.data(), batch, list_of.data() + first);
    for (size_t i = 0; i < batch; ++i) {
      const double norm = ExactNorm(shape, keys + i * spec.KeyBytes());
      const uint32_t list = list_of[first + i];
      list_max_norms[list] = std::max(list_max_norms[list], NormBound(norm));
      if (!inverse_norms.empty()) inverse_norms[first + i] = InverseNorm(norm);
      ++list_offsets[list + 1];
    }
  }
  std::partial_sum(list_offsets.begin(), list_offsets.end(), list_offsets.begin());
  std::vector<uint64_t> next(list_offsets.begin(), list_offsets.end() - 1);
  order.resize(count);
  for (size_t i = 0; i < count; ++i) order[next[list_of[i]]++] = static_cast<uint32_t>(i);
  return absl::OkStatus();
}

absl::Status SegmentBuilder::State::WriteShape(EnvelopeWriter& writer) const {
  StoredSegmentMeta meta;
  meta.first_row = first_row;
  meta.end_row = end_row;
  meta.rows = entries.count;
  meta.codebook_number = codebook->number();
  meta.value_bytes = spec.value_bytes;
  meta.lists = codebook->lists();
  meta.dimension = spec.dimension;
  meta.metric = static_cast<uint32_t>(spec.metric);
  meta.key_dtype = static_cast<uint32_t>(spec.key_dtype);
  RETURN_IF_ERROR(writer.AddSection(kSegmentMeta, {reinterpret_cast<const char*>(&meta), sizeof(meta)}));
  RETURN_IF_ERROR(writer.AddSection(kSegmentListOffsets, AsBytes(list_offsets)));
  RETURN_IF_ERROR(writer.AddSection(kSegmentListMaxNorms, AsBytes(list_max_norms)));
  // Rows arrived in ascending order, so the inverse of `order` lists the positions by row.
  std::vector<uint32_t> by_row(order.size());
  for (size_t i = 0; i < order.size(); ++i) by_row[order[i]] = static_cast<uint32_t>(i);
  return writer.AddSection(kSegmentByRow, AsBytes(by_row));
}

absl::Status SegmentBuilder::State::WriteValues(EnvelopeWriter& writer) const {
  RETURN_IF_ERROR(writer.BeginSection(kSegmentValues));
  std::vector<uint64_t> offsets = {0};
  for (const uint32_t i : order) {
    const std::string_view value = entries.values.At(i);
    RETURN_IF_ERROR(writer.Append(value));
    if (spec.value_bytes == 0) offsets.push_back(offsets.back() + value.size());
  }
  if (spec.value_bytes != 0) return absl::OkStatus();
  return writer.AddSection(kSegmentValueOffsets, AsBytes(offsets));
}

absl::Status SegmentBuilder::State::WriteCodes(EnvelopeWriter& writer,
                                               const std::function<bool()>& cancelled) const {
  const Codec* codec = codebook->codec();
  if (codec == nullptr) return absl::OkStatus();
  const size_t d = spec.dimension;
  const StoredCodeShape shape{static_cast<uint32_t>(codec->block_bytes()), kCodeBlockRows};
  RETURN_IF_ERROR(
      writer.AddSection(kSegmentCodeShape, {reinterpret_cast<const char*>(&shape), sizeof(shape)}));
  RETURN_IF_ERROR(writer.BeginSection(kSegmentCodes));
  std::vector<float> keys(kCodeBlockRows * d);
  std::vector<char> block(codec->block_bytes());
  for (uint32_t list = 0; list < codebook->lists(); ++list) {
    if (cancelled && cancelled()) return absl::CancelledError("writing a segment was cancelled");
    for (uint64_t first = list_offsets[list]; first < list_offsets[list + 1]; first += kCodeBlockRows) {
      const size_t taken = std::min<size_t>(kCodeBlockRows, list_offsets[list + 1] - first);
      for (size_t i = 0; i < taken; ++i) DecodeUnit(order[first + i], keys.data() + i * d);
      codec->Encode(codebook->Centroid(list), keys.data(), taken, block.data());
      RETURN_IF_ERROR(writer.Append({block.data(), block.size()}));
    }
  }
  return absl::OkStatus();
}

// The key of arrival `i` as codecs take it: of unit length for cosine.
void SegmentBuilder::State::DecodeUnit(uint32_t i, float* key) const {
  const char* stored = entries.keys.data() + i * spec.KeyBytes();
  DecodeVector(spec.key_dtype, stored, spec.dimension, key);
  if (spec.metric != Metric::kCosine) return;
  const double norm = ExactNorm({spec.metric, spec.key_dtype, spec.dimension}, stored);
  for (size_t c = 0; c < spec.dimension && norm > 0.0; ++c) key[c] = static_cast<float>(key[c] / norm);
}

absl::Status SegmentBuilder::State::WriteColumns(EnvelopeWriter& writer,
                                                 const std::function<bool()>& cancelled) const {
  RETURN_IF_ERROR(writer.BeginSection(kSegmentKeys));
  for (size_t i = 0; i < order.size(); ++i) {
    if (i % kBatch == 0 && cancelled && cancelled()) return absl::CancelledError("writing a segment was cancelled");
    RETURN_IF_ERROR(writer.Append(entries.keys.view().substr(order[i] * spec.KeyBytes(), spec.KeyBytes())));
  }
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentInverseNorms, inverse_norms));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentIds, entries.ids));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentRows, rows));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentWeights, entries.weights));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentScores, entries.scores));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentLabels, entries.labels));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentSources, entries.sources));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentPositions, entries.positions));
  RETURN_IF_ERROR(WriteColumn(writer, kSegmentExpiries, entries.expiries_ms));
  return WriteColumn(writer, kSegmentCreated, entries.created_ms);
}

absl::Status SegmentBuilder::Write(const std::string& path, const EnvelopeIdentity& identity,
                                   const std::function<bool()>& cancelled) {
  State& s = *state_;
  if (s.entries.count > std::numeric_limits<uint32_t>::max()) {
    return absl::ResourceExhaustedError(absl::StrCat("a segment of ", s.entries.count, " rows; must be below 2^32"));
  }
  RETURN_IF_ERROR(s.AssignLists(cancelled));
  ASSIGN_OR_RETURN(std::unique_ptr<EnvelopeWriter> writer, EnvelopeWriter::New(path, EnvelopeKind::kSegment, identity));
  RETURN_IF_ERROR(s.WriteShape(*writer));
  RETURN_IF_ERROR(s.WriteCodes(*writer, cancelled));
  RETURN_IF_ERROR(s.WriteColumns(*writer, cancelled));
  RETURN_IF_ERROR(s.WriteValues(*writer));
  return writer->Finish().status();
}

}  // namespace mneme
