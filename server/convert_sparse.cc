#include "server/convert_sparse.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/sparse_vector.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"

namespace mneme {
namespace {

absl::Status ReadHalves(const std::string& field, const v1::SparseVectors& wire, size_t count,
                        std::vector<uint16_t>& out) {
  Dtype dtype = Dtype::kF16;
  RETURN_IF_ERROR(ReadDtype(absl::StrCat(field, ".dtype"), wire.dtype(), dtype));
  const std::string components = absl::StrCat(field, ".components");
  const size_t bytes = count * DtypeBytes(dtype);
  if (wire.components().size() != bytes) {
    return FieldError(components, absl::StrCat("has ", wire.components().size(), " bytes; must have ", bytes));
  }
  std::vector<float> wide(count);
  DecodeVector(dtype, wire.components().data(), count, wide.data());
  const size_t bad = FindUnacceptable(wide.data(), count, limits::kMaxHalf);
  if (bad != count) {
    return FieldError(absl::StrCat(components, "[", bad, "]"),
                      absl::StrCat("is ", wide[bad], "; must be finite, of magnitude at most ", limits::kMaxHalf));
  }
  out.resize(count);
  EncodeVector(Dtype::kF16, wide.data(), count, reinterpret_cast<char*>(out.data()));
  return absl::OkStatus();
}

absl::Status CheckIndices(const std::string& field, absl::Span<const Token> indices, size_t first,
                          const MemorySpec& spec) {
  const auto item = [&](size_t i) { return absl::StrCat(field, "[", first + i, "]"); };
  for (size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] >= spec.vocabulary_size) {
      return FieldError(item(i), absl::StrCat("is ", indices[i], "; must be below ", spec.vocabulary_size,
                                           ", the vocabulary size of memory \"", spec.name, "\""));
    }
    if (i > 0 && indices[i] <= indices[i - 1]) {
      return FieldError(item(i),
                        absl::StrCat("is ", indices[i], "; must be above ", indices[i - 1], ", the one before"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadSparseVectors(const std::string& field, const v1::SparseVectors& wire, const MemorySpec& spec,
                               size_t count, ValueColumn& out) {
  std::vector<Token> indices;
  std::vector<size_t> offsets;
  std::vector<uint16_t> halves;
  std::vector<float> remainders;
  const std::string indices_field = absl::StrCat(field, ".indices");
  const std::string remainders_field = absl::StrCat(field, ".remainders");
  RETURN_IF_ERROR(ReadList(indices_field, wire.indices(), limits::kMaxMessageBytes, indices));
  RETURN_IF_ERROR(ReadOffsets(absl::StrCat(field, ".offsets"), wire.offsets(), count, indices.size(), offsets));
  RETURN_IF_ERROR(ReadHalves(field, wire, indices.size(), halves));
  RETURN_IF_ERROR(ReadColumn(remainders_field, wire.remainders(), count, remainders));
  remainders.resize(count, 0.0F);
  out.width = 0;
  out.offsets = {0};
  for (size_t i = 0; i < count; ++i) {
    const size_t listed = offsets[i + 1] - offsets[i];
    if (listed > limits::kMaxSparseComponents) {
      return FieldError(absl::StrCat(field, "[", i, "]"),
                        absl::StrCat("lists ", listed, " components; must list at most ",
                                     limits::kMaxSparseComponents));
    }
    RETURN_IF_ERROR(CheckIndices(indices_field, absl::MakeConstSpan(indices).subspan(offsets[i], listed), offsets[i],
                                 spec));
    if (!std::isfinite(remainders[i])) {
      return FieldError(absl::StrCat(remainders_field, "[", i, "]"), "is not finite");
    }
    if (remainders[i] != 0.0F && listed == spec.vocabulary_size) {
      return FieldError(absl::StrCat(remainders_field, "[", i, "]"),
                        absl::StrCat("is ", remainders[i], "; must be 0 where every component is listed"));
    }
    AppendSparseVector(indices.data() + offsets[i], halves.data() + offsets[i], listed, remainders[i], out.bytes);
    out.offsets.push_back(out.bytes.size());
  }
  return absl::OkStatus();
}

void WriteSparseVectors(const ValueColumn& values, v1::SparseVectors* out) {
  std::vector<uint64_t> offsets = {0};
  const size_t count = values.offsets.empty() ? 0 : values.offsets.size() - 1;
  for (size_t i = 0; i < count; ++i) {
    const std::string_view stored = values.At(i);
    const size_t listed = (stored.size() - sizeof(float)) / kSparseComponentBytes;
    out->mutable_remainders()->append(stored.data(), sizeof(float));
    out->mutable_indices()->append(stored.data() + sizeof(float), listed * sizeof(Token));
    out->mutable_components()->append(stored.data() + sizeof(float) + listed * sizeof(Token),
                                      listed * sizeof(uint16_t));
    offsets.push_back(offsets.back() + listed);
  }
  out->set_dtype(v1::DTYPE_F16);
  WriteColumn(offsets, out->mutable_offsets());
}

}  // namespace mneme
