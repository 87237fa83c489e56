#include "server/convert_entries.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "server/convert_columns.h"
#include "server/convert_keys.h"
#include "server/convert_memory.h"
#include "server/convert_sparse.h"

namespace mneme {
namespace {

std::string Item(const std::string& field, size_t i) { return absl::StrCat(field, "[", i, "]"); }

const char* KindName(ValueKind kind) {
  switch (kind) {
    case ValueKind::kToken: return "tokens";
    case ValueKind::kVector: return "vectors";
    case ValueKind::kSparseVector: return "sparse vectors";
    case ValueKind::kBytes: return "blobs";
  }
  return "";
}

// The member of the oneof that a memory of this kind takes.
v1::Values::KindCase WireKind(ValueKind kind) {
  switch (kind) {
    case ValueKind::kToken: return v1::Values::kTokens;
    case ValueKind::kVector: return v1::Values::kVectors;
    case ValueKind::kSparseVector: return v1::Values::kSparse;
    case ValueKind::kBytes: return v1::Values::kBlobs;
  }
  return v1::Values::KIND_NOT_SET;
}

absl::Status ReadTokens(const std::string& field, const std::string& wire, const MemorySpec& spec, size_t count,
                        std::vector<char>& out) {
  std::vector<Token> tokens;
  RETURN_IF_ERROR(ReadColumn(field, wire, count, tokens));
  if (tokens.empty()) return FieldError(field, absl::StrCat("is empty; must have ", count, " tokens"));
  for (size_t i = 0; spec.vocabulary_size != 0 && i < count; ++i) {
    if (tokens[i] < spec.vocabulary_size) continue;
    return FieldError(Item(field, i), absl::StrCat("is ", tokens[i], "; must be below ", spec.vocabulary_size,
                                                   ", the vocabulary size of memory \"", spec.name, "\""));
  }
  out.assign(wire.begin(), wire.end());
  return absl::OkStatus();
}

absl::Status ReadBlobs(const std::string& field, const v1::BytesColumn& wire, size_t count, ValueColumn& out) {
  std::vector<size_t> offsets;
  RETURN_IF_ERROR(ReadOffsets(absl::StrCat(field, ".offsets"), wire.offsets(), count, wire.data().size(), offsets));
  for (size_t i = 0; i < count; ++i) {
    const size_t size = offsets[i + 1] - offsets[i];
    if (size <= limits::kMaxValueBytes) continue;
    return FieldError(Item(field, i), absl::StrCat("has ", size, " bytes; must have at most ", limits::kMaxValueBytes));
  }
  out.offsets.assign(offsets.begin(), offsets.end());
  out.bytes.assign(wire.data().begin(), wire.data().end());
  return absl::OkStatus();
}

absl::Status ReadValues(const std::string& field, const v1::Values& wire, const MemorySpec& spec, size_t count,
                        ValueColumn& out) {
  if (wire.kind_case() != WireKind(spec.value_kind)) {
    return FieldError(field, absl::StrCat("must hold ", KindName(spec.value_kind), ", the values of memory \"",
                                          spec.name, "\""));
  }
  out.width = spec.ValueBytes();
  switch (spec.value_kind) {
    case ValueKind::kToken: return ReadTokens(absl::StrCat(field, ".tokens"), wire.tokens(), spec, count, out.bytes);
    case ValueKind::kVector:
      return DecodeFinite(absl::StrCat(field, ".vectors"), wire.vectors(), spec.value_dimension, count, out.bytes);
    case ValueKind::kSparseVector:
      return ReadSparseVectors(absl::StrCat(field, ".sparse"), wire.sparse(), spec, count, out);
    case ValueKind::kBytes: return ReadBlobs(absl::StrCat(field, ".blobs"), wire.blobs(), count, out);
  }
  return absl::OkStatus();
}

// Applies `accept` to every item of a column and names the first that it refuses.
template <typename T, typename Accept>
absl::Status CheckItems(const std::string& field, const std::vector<T>& items, Accept accept, const char* what) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (!accept(items[i])) return FieldError(Item(field, i), what);
  }
  return absl::OkStatus();
}

absl::Status ReadIds(const std::string& field, const std::string& wire, size_t count, std::vector<EntryId>& out) {
  RETURN_IF_ERROR(ReadColumn(field, wire, count, out));
  return CheckItems(field, out, [](EntryId id) { return id < limits::kFirstServerId; },
                    "must be below 2^62; ids from there on are the server's");
}

absl::Status ReadAttributes(const std::string& field, const v1::Entries& wire, EntryColumns& out) {
  const size_t count = out.count;
  const auto path = [&field](const char* name) { return absl::StrCat(field, ".", name); };
  RETURN_IF_ERROR(ReadIds(path("ids"), wire.ids(), count, out.ids));
  RETURN_IF_ERROR(ReadColumn(path("weights"), wire.weights(), count, out.weights));
  RETURN_IF_ERROR(CheckItems(path("weights"), out.weights, [](float w) { return std::isfinite(w) && w > 0.0F; },
                             "must be finite and above 0"));
  RETURN_IF_ERROR(ReadColumn(path("scores"), wire.scores(), count, out.scores));
  RETURN_IF_ERROR(
      CheckItems(path("scores"), out.scores, [](double s) { return std::isfinite(s); }, "must be finite"));
  RETURN_IF_ERROR(ReadColumn(path("labels"), wire.labels(), count, out.labels));
  RETURN_IF_ERROR(ReadColumn(path("sources"), wire.sources(), count, out.sources));
  RETURN_IF_ERROR(ReadColumn(path("positions"), wire.positions(), count, out.positions));
  RETURN_IF_ERROR(ReadColumn(path("expiries_ms"), wire.expiries_ms(), count, out.expiries_ms));
  return CheckItems(path("expiries_ms"), out.expiries_ms, [](int64_t ms) { return ms >= 0; },
                    "must not be negative; 0 is never");
}

template <typename T>
void WriteOptional(const std::vector<T>& column, std::string* out) {
  if (!column.empty()) WriteColumn(column, out);
}

}  // namespace

absl::Status ReadEntriesWithoutKeys(const std::string& field, const v1::Entries& wire, const MemorySpec& spec,
                                    EntryColumns& out) {
  RETURN_IF_ERROR(ReadValues(absl::StrCat(field, ".values"), wire.values(), spec, out.count, out.values));
  return ReadAttributes(field, wire, out);
}

absl::Status ReadEntries(const std::string& field, const v1::Entries& wire, const MemorySpec& spec, EntryColumns& out) {
  const std::string keys = absl::StrCat(field, ".keys");
  RETURN_IF_ERROR(ReadStoredKeys(keys, wire.keys(), spec, limits::kMaxInsertEntries, out.keys, out.count));
  out.key_bytes = spec.KeyBytes();
  return ReadEntriesWithoutKeys(field, wire, spec, out);
}

absl::Status ReadInsert(const v1::InsertRequest& request, const MemorySpec& spec, InsertCommand& command) {
  RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  RETURN_IF_ERROR(ReadDurability("durability", request.durability(), command.durability));
  RETURN_IF_ERROR(ReadEntries("entries", request.entries(), spec, command.entries));
  command.partition = request.partition();
  command.request_id = request.request_id();
  command.bulk = request.bulk();
  return absl::OkStatus();
}

void WriteValues(const ValueColumn& values, const MemorySpec& spec, v1::Values* out) {
  switch (spec.value_kind) {
    case ValueKind::kToken: out->mutable_tokens()->assign(values.bytes.data(), values.bytes.size()); return;
    case ValueKind::kVector:
      out->mutable_vectors()->mutable_data()->assign(values.bytes.data(), values.bytes.size());
      out->mutable_vectors()->set_dtype(v1::DTYPE_F32);
      out->mutable_vectors()->set_dimension(spec.value_dimension);
      return;
    case ValueKind::kSparseVector: WriteSparseVectors(values, out->mutable_sparse()); return;
    case ValueKind::kBytes: break;
  }
  v1::BytesColumn* blobs = out->mutable_blobs();
  blobs->mutable_data()->assign(values.bytes.data(), values.bytes.size());
  if (values.offsets.empty()) {
    blobs->mutable_offsets()->assign(sizeof(uint64_t), '\0');
  } else {
    WriteColumn(values.offsets, blobs->mutable_offsets());
  }
}

void WriteEntries(const EntryColumns& entries, const MemorySpec& spec, v1::Entries* out) {
  if (!entries.keys.empty()) {
    out->mutable_keys()->mutable_data()->assign(entries.keys.data(), entries.keys.size());
    out->mutable_keys()->set_dtype(WriteDtype(spec.key_dtype));
    out->mutable_keys()->set_dimension(spec.dimension);
  }
  WriteValues(entries.values, spec, out->mutable_values());
  WriteColumn(entries.ids, out->mutable_ids());
  WriteOptional(entries.weights, out->mutable_weights());
  WriteOptional(entries.scores, out->mutable_scores());
  WriteOptional(entries.labels, out->mutable_labels());
  WriteOptional(entries.sources, out->mutable_sources());
  WriteOptional(entries.positions, out->mutable_positions());
  WriteOptional(entries.expiries_ms, out->mutable_expiries_ms());
  WriteOptional(entries.created_ms, out->mutable_created_ms());
}

absl::Status CheckRequestId(const std::string& request_id) {
  if (request_id.size() <= limits::kMaxRequestIdBytes) return absl::OkStatus();
  return FieldError("request_id", absl::StrCat("has ", request_id.size(), " bytes; must have at most ",
                                               limits::kMaxRequestIdBytes));
}

}  // namespace mneme
