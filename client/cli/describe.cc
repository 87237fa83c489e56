#include "client/cli/describe.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/table.h"
#include "common/utf8.h"
#include "common/vector_codec.h"

namespace mneme::cli {
namespace {

Dtype CodecDtype(v1::Dtype dtype) {
  if (dtype == v1::DTYPE_F16) return Dtype::kF16;
  return dtype == v1::DTYPE_BF16 ? Dtype::kBF16 : Dtype::kF32;
}

std::string BlobAt(const v1::BytesColumn& blobs, size_t i) {
  const auto first = ColumnItem<uint64_t>(blobs.offsets(), i);
  const auto last = ColumnItem<uint64_t>(blobs.offsets(), i + 1, first);
  if (first > last || last > blobs.data().size()) return {};
  return blobs.data().substr(first, last - first);
}

}  // namespace

std::string MetricWord(v1::Metric metric) {
  if (metric == v1::METRIC_INNER_PRODUCT) return "ip";
  return metric == v1::METRIC_COSINE ? "cosine" : "l2";
}

std::string DtypeWord(v1::Dtype dtype) { return dtype == v1::DTYPE_F16 ? "f16" : "f32"; }

std::string ValueWord(v1::ValueKind kind) {
  if (kind == v1::VALUE_KIND_VECTOR) return "vector";
  if (kind == v1::VALUE_KIND_SPARSE_VECTOR) return "sparse";
  return kind == v1::VALUE_KIND_BYTES ? "bytes" : "token";
}

Json MemoryJson(const v1::MemoryDescription& memory) {
  const v1::Fingerprint& print = memory.fingerprint();
  Json fingerprint = Json::object();
  if (!print.model().empty()) fingerprint["model"] = print.model();
  if (!print.revision().empty()) fingerprint["revision"] = print.revision();
  if (!print.layer().empty()) fingerprint["layer"] = print.layer();
  if (!print.tokenizer_hash().empty()) fingerprint["tokenizer_hash"] = print.tokenizer_hash();
  if (print.vocabulary_size() > 0) fingerprint["vocabulary_size"] = print.vocabulary_size();
  if (!print.normalization().empty()) fingerprint["normalization"] = print.normalization();
  return {{"name", memory.name()},
          {"number", memory.number()},
          {"dimension", memory.dimension()},
          {"metric", MetricWord(memory.metric())},
          {"key_dtype", DtypeWord(memory.key_dtype())},
          {"value", ValueWord(memory.value_kind())},
          {"vocabulary_size", memory.vocabulary_size()},
          {"value_dimension", memory.value_dimension()},
          {"spread", memory.spread() == v1::SPREAD_ONE ? "one" : "all"},
          {"index", memory.index()},
          {"capacity", memory.capacity()},
          {"fingerprint", fingerprint},
          {"created_ms", memory.created_ms()}};
}

std::vector<float> VectorAt(const v1::Vectors& vectors, size_t i) {
  const Dtype dtype = CodecDtype(vectors.dtype());
  const size_t bytes = vectors.dimension() * DtypeBytes(dtype);
  if ((i + 1) * bytes > vectors.data().size()) return {};
  std::vector<float> decoded(vectors.dimension());
  DecodeVector(dtype, vectors.data().data() + i * bytes, decoded.size(), decoded.data());
  return decoded;
}

// What sparse value `i` lists, and where it lies in the columns.
struct SparseAt {
  std::vector<uint32_t> indices;
  std::vector<float> components;
  float remainder = 0;
};

SparseAt SparseOf(const v1::SparseVectors& sparse, size_t i) {
  SparseAt at;
  const auto first = ColumnItem<uint64_t>(sparse.offsets(), i);
  const auto last = std::min<uint64_t>(ColumnItem<uint64_t>(sparse.offsets(), i + 1),
                                       sparse.indices().size() / sizeof(uint32_t));
  const Dtype dtype = CodecDtype(sparse.dtype());
  at.remainder = ColumnItem<float>(sparse.remainders(), i);
  if (first >= last || last * DtypeBytes(dtype) > sparse.components().size()) return at;
  for (uint64_t item = first; item < last; ++item) at.indices.push_back(ColumnItem<uint32_t>(sparse.indices(), item));
  at.components.resize(last - first);
  DecodeVector(dtype, sparse.components().data() + first * DtypeBytes(dtype), last - first, at.components.data());
  return at;
}

std::string BytesText(const std::string& bytes) {
  constexpr size_t kShownBytes = 60;
  size_t shown = std::min(bytes.size(), kShownBytes);
  while (shown > 0 && shown < bytes.size() && (bytes[shown] & 0xC0) == 0x80) --shown;  // between two characters
  const std::string text = bytes.substr(0, shown);
  return (IsUtf8(text) ? absl::Utf8SafeCEscape(text) : absl::CEscape(text)) + (shown < bytes.size() ? ".." : "");
}

std::string VectorText(const std::vector<double>& vector) {
  constexpr size_t kShownComponents = 8;
  std::string text;
  for (size_t i = 0; i < std::min(vector.size(), kShownComponents); ++i) {
    absl::StrAppend(&text, i > 0 ? " " : "", HumanNumber(vector[i]));
  }
  if (vector.size() > kShownComponents) absl::StrAppend(&text, " .. (", vector.size(), " components)");
  return text;
}

Json ValueJson(const v1::Values& values, size_t i) {
  if (values.has_vectors()) return VectorAt(values.vectors(), i);
  if (values.has_sparse()) {
    const SparseAt at = SparseOf(values.sparse(), i);
    return {{"indices", at.indices}, {"components", at.components}, {"remainder", at.remainder}};
  }
  if (!values.has_blobs()) return ColumnItem<uint32_t>(values.tokens(), i);
  return BytesJson(BlobAt(values.blobs(), i));
}

std::string ValueText(const v1::Values& values, size_t i, const Vocabulary& vocabulary) {
  constexpr size_t kShownComponents = 4;
  if (values.has_vectors()) {
    const std::vector<float> vector = VectorAt(values.vectors(), i);
    std::string text = "[";
    for (size_t c = 0; c < std::min(vector.size(), kShownComponents); ++c) {
      absl::StrAppend(&text, c > 0 ? " " : "", HumanNumber(vector[c]));
    }
    return text + (vector.size() > kShownComponents ? " ..]" : "]");
  }
  if (values.has_sparse()) {
    const SparseAt at = SparseOf(values.sparse(), i);
    std::string text = "{";
    for (size_t c = 0; c < std::min(at.indices.size(), kShownComponents); ++c) {
      absl::StrAppend(&text, c > 0 ? " " : "", at.indices[c], ":", HumanNumber(at.components[c]));
    }
    return text + (at.indices.size() > kShownComponents ? " ..}" : "}");
  }
  if (values.has_blobs()) return BytesText(BlobAt(values.blobs(), i));
  const auto token = ColumnItem<uint32_t>(values.tokens(), i);
  return vocabulary.empty() ? absl::StrCat(token) : vocabulary.Text(token);
}

size_t EntryCount(const v1::Entries& entries) { return entries.ids().size() / sizeof(uint64_t); }

Json EntryJson(const v1::Entries& entries, size_t i) {
  Json entry = {{"id", ColumnItem<uint64_t>(entries.ids(), i)},
                {"value", ValueJson(entries.values(), i)},
                {"weight", ColumnItem<float>(entries.weights(), i, 1.0F)},
                {"score", ColumnItem<double>(entries.scores(), i)},
                {"label", ColumnItem<int64_t>(entries.labels(), i)},
                {"source", ColumnItem<uint64_t>(entries.sources(), i)},
                {"position", ColumnItem<uint64_t>(entries.positions(), i)},
                {"expiry_ms", ColumnItem<int64_t>(entries.expiries_ms(), i)},
                {"created_ms", ColumnItem<int64_t>(entries.created_ms(), i)}};
  if (!entries.keys().data().empty()) entry["key"] = VectorAt(entries.keys(), i);
  return entry;
}

}  // namespace mneme::cli
