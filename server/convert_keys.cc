#include "server/convert_keys.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/vector_codec.h"
#include "server/request_error.h"

namespace mneme {
namespace {

std::string Item(const std::string& field, size_t i) { return absl::StrCat(field, "[", i, "]"); }

// What is wrong with a component; its value is never told.
std::string Describe(float component, size_t at, float bound) {
  if (std::isnan(component)) return absl::StrCat("has a NaN at component ", at);
  if (std::isinf(component)) return absl::StrCat("has an infinity at component ", at);
  return absl::StrCat("has a magnitude above ", bound, " at component ", at);
}

// Every row finite and within `bound`; all offending rows are named, up to the cap.
absl::Status CheckRows(const std::string& field, const float* rows, size_t count, size_t dimension, float bound) {
  FieldErrors errors;
  for (size_t i = 0; i < count && !errors.full(); ++i) {
    const float* row = rows + i * dimension;
    const size_t at = FindUnacceptable(row, dimension, bound);
    if (at != dimension) errors.Add(Item(field, i), Describe(row[at], at, bound));
  }
  return errors.ToStatus();
}

// A row whose components are all zero has no direction. (Squares of f32 do not underflow in f64.)
absl::Status CheckDirections(const std::string& field, const float* rows, size_t count, const MemorySpec& spec,
                             const char* what) {
  if (spec.metric != Metric::kCosine) return absl::OkStatus();
  FieldErrors errors;
  for (size_t i = 0; i < count && !errors.full(); ++i) {
    const float* row = rows + i * spec.dimension;
    const bool zero = std::all_of(row, row + spec.dimension, [](float x) { return x == 0.0F; });
    if (zero) errors.Add(Item(field, i), what);
  }
  return errors.ToStatus();
}

absl::Status CheckShape(const std::string& field, const v1::Vectors& vectors, size_t dimension, size_t width,
                        const std::string& owner) {
  if (vectors.dimension() != dimension) {
    const absl::Status error = FieldError(
        absl::StrCat(field, ".dimension"), absl::StrCat("is ", vectors.dimension(), "; must be ", dimension, owner));
    return WithErrorInfo(error, reason::kInvalidField,
                         {{"expected", absl::StrCat(dimension)}, {"got", absl::StrCat(vectors.dimension())}});
  }
  if (vectors.data().size() % (dimension * width) != 0) {
    return FieldError(absl::StrCat(field, ".data"),
                      absl::StrCat("has ", vectors.data().size(), " bytes; must be a multiple of ", dimension * width,
                                   " (", dimension, " components of ", width, " bytes)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadDtype(const std::string& field, v1::Dtype wire, Dtype& out) {
  switch (wire) {
    case v1::DTYPE_F32: out = Dtype::kF32; return absl::OkStatus();
    case v1::DTYPE_F16: out = Dtype::kF16; return absl::OkStatus();
    case v1::DTYPE_BF16: out = Dtype::kBF16; return absl::OkStatus();
    default: break;
  }
  return FieldError(field, absl::StrCat("is ", static_cast<int>(wire), "; must be DTYPE_F32, DTYPE_F16 or DTYPE_BF16"));
}

v1::Dtype WriteDtype(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32: return v1::DTYPE_F32;
    case Dtype::kF16: return v1::DTYPE_F16;
    case Dtype::kBF16: return v1::DTYPE_BF16;
  }
  return v1::DTYPE_UNSPECIFIED;
}

absl::Status DecodeKeys(const std::string& field, const v1::Vectors& vectors, const MemorySpec& spec, size_t max_rows,
                        AlignedBuffer& out, size_t& count) {
  Dtype dtype = Dtype::kF32;
  RETURN_IF_ERROR(ReadDtype(absl::StrCat(field, ".dtype"), vectors.dtype(), dtype));
  const size_t width = DtypeBytes(dtype);
  RETURN_IF_ERROR(
      CheckShape(field, vectors, spec.dimension, width, absl::StrCat(", that of memory \"", spec.name, "\"")));
  count = vectors.data().size() / (spec.dimension * width);
  if (count == 0 || count > max_rows) {
    return FieldError(field, absl::StrCat("has ", count, " rows; must have 1 to ", max_rows));
  }
  out.Resize(count * spec.dimension * sizeof(float));
  DecodeVector(dtype, vectors.data().data(), count * spec.dimension, out.as<float>());
  RETURN_IF_ERROR(CheckRows(field, out.as<float>(), count, spec.dimension, limits::kMaxKeyComponent));
  return CheckDirections(field, out.as<float>(), count, spec, "has norm zero; a cosine memory needs a direction");
}

absl::Status EncodeStoredKeys(const std::string& field, AlignedBuffer rows, const MemorySpec& spec,
                              AlignedBuffer& out) {
  if (spec.key_dtype == Dtype::kF32) {
    out = std::move(rows);
    return absl::OkStatus();
  }
  const size_t components = rows.size() / sizeof(float);
  const size_t count = components / spec.dimension;
  RETURN_IF_ERROR(CheckRows(field, rows.as<float>(), count, spec.dimension, limits::kMaxHalf));
  out.Resize(components * DtypeBytes(spec.key_dtype));
  EncodeVector(spec.key_dtype, rows.as<float>(), components, out.data());
  if (spec.metric != Metric::kCosine) return absl::OkStatus();
  // A key of tiny components may have rounded to nothing.
  AlignedBuffer rounded(rows.size());
  DecodeVector(spec.key_dtype, out.data(), components, rounded.as<float>());
  return CheckDirections(field, rounded.as<float>(), count, spec,
                         "has norm zero once rounded to f16; a cosine memory needs a direction");
}

absl::Status ReadStoredKeys(const std::string& field, const v1::Vectors& vectors, const MemorySpec& spec,
                            size_t max_rows, AlignedBuffer& out, size_t& count) {
  const std::string& packed = vectors.data();
  const size_t given = packed.size() / spec.KeyBytes();
  const bool as_stored = vectors.dtype() == v1::DTYPE_F16 && spec.key_dtype == Dtype::kF16 &&
                         spec.metric != Metric::kCosine && vectors.dimension() == spec.dimension &&
                         packed.size() % spec.KeyBytes() == 0 && given >= 1 && given <= max_rows;
  if (as_stored && AllHalvesFinite(packed.data(), packed.size() / sizeof(uint16_t))) {
    count = given;
    out.Append(packed);
    return absl::OkStatus();
  }
  // The general way also says what is wrong.
  AlignedBuffer rows;
  RETURN_IF_ERROR(DecodeKeys(field, vectors, spec, max_rows, rows, count));
  return EncodeStoredKeys(field, std::move(rows), spec, out);
}

absl::Status DecodeFinite(const std::string& field, const v1::Vectors& vectors, size_t dimension, size_t count,
                          std::vector<char>& out, float bound) {
  Dtype dtype = Dtype::kF32;
  RETURN_IF_ERROR(ReadDtype(absl::StrCat(field, ".dtype"), vectors.dtype(), dtype));
  RETURN_IF_ERROR(CheckShape(field, vectors, dimension, DtypeBytes(dtype), ""));
  const size_t given = vectors.data().size() / (dimension * DtypeBytes(dtype));
  if (given != count) return FieldError(field, absl::StrCat("has ", given, " rows; must have ", count));
  out.resize(count * dimension * sizeof(float));
  auto* rows = reinterpret_cast<float*>(out.data());
  DecodeVector(dtype, vectors.data().data(), count * dimension, rows);
  return CheckRows(field, rows, count, dimension, bound);
}

}  // namespace mneme
