#include "server/convert_memory.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/utf8.h"
#include "server/convert_keys.h"
#include "server/request_error.h"

namespace mneme {
namespace {

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsNamePart(char c) { return IsNameStart(c) || c == '.' || c == '_' || c == '-'; }

std::string MustBeIn(uint64_t value, uint64_t low, uint64_t high) {
  return absl::StrCat("is ", value, "; must be in [", low, ", ", high, "]");
}

void ReadMetric(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  switch (description.metric()) {
    case v1::METRIC_L2: spec.metric = Metric::kL2; return;
    case v1::METRIC_INNER_PRODUCT: spec.metric = Metric::kInnerProduct; return;
    case v1::METRIC_COSINE: spec.metric = Metric::kCosine; return;
    default: break;
  }
  errors.Add("memory.metric", absl::StrCat("is ", static_cast<int>(description.metric()),
                                           "; must be METRIC_L2, METRIC_INNER_PRODUCT or METRIC_COSINE"));
}

void ReadKeyDtype(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  switch (description.key_dtype()) {
    case v1::DTYPE_UNSPECIFIED:
    case v1::DTYPE_F32: spec.key_dtype = Dtype::kF32; return;
    case v1::DTYPE_F16: spec.key_dtype = Dtype::kF16; return;
    default: break;
  }
  errors.Add("memory.key_dtype",
             absl::StrCat("is ", static_cast<int>(description.key_dtype()), "; must be DTYPE_F32 or DTYPE_F16"));
}

void ReadSpread(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  switch (description.spread()) {
    case v1::SPREAD_UNSPECIFIED:
    case v1::SPREAD_ALL: spec.spread = Spread::kAll; return;
    case v1::SPREAD_ONE: spec.spread = Spread::kOne; return;
    default: break;
  }
  errors.Add("memory.spread",
             absl::StrCat("is ", static_cast<int>(description.spread()), "; must be SPREAD_ALL or SPREAD_ONE"));
}

void ReadIndex(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  const absl::StatusOr<IndexChoice> index = ParseIndexChoice(description.index(), spec.dimension);
  if (index.ok()) {
    spec.index = *index;
    return;
  }
  absl::string_view why = index.status().message();
  static_cast<void>(absl::ConsumePrefix(&why, "index "));  // the field's name stands before it
  errors.Add("memory.index", std::string(why));
}

// After ReadSpread(): entries of a capacity are counted in one order of arrival, and that is a shard's.
void ReadCapacity(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  spec.capacity = description.capacity();
  if (spec.capacity == 0) return;
  if (spec.capacity > limits::kMaxCapacity) {
    errors.Add("memory.capacity", MustBeIn(spec.capacity, 0, limits::kMaxCapacity));
  } else if (description.spread() == v1::SPREAD_ALL) {
    errors.Add("memory.capacity", absl::StrCat("is ", spec.capacity, "; needs SPREAD_ONE instead of SPREAD_ALL"));
  }
  spec.spread = Spread::kOne;
}

void ReadVocabulary(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  spec.vocabulary_size = description.vocabulary_size();
  const bool sparse = spec.value_kind == ValueKind::kSparseVector;
  if (sparse && spec.vocabulary_size == 0) {
    errors.Add("memory.vocabulary_size", MustBeIn(0, 1, limits::kMaxVocabularySize));
  } else if (spec.value_kind != ValueKind::kToken && !sparse && spec.vocabulary_size != 0) {
    errors.Add("memory.vocabulary_size", "is set; only memories of TOKEN or SPARSE_VECTOR values have a vocabulary");
  } else if (spec.vocabulary_size > limits::kMaxVocabularySize) {
    errors.Add("memory.vocabulary_size", MustBeIn(spec.vocabulary_size, 0, limits::kMaxVocabularySize));
  }
}

void ReadValueKind(const v1::MemoryDescription& description, MemorySpec& spec, FieldErrors& errors) {
  spec.value_dimension = description.value_dimension();
  switch (description.value_kind()) {
    case v1::VALUE_KIND_TOKEN: spec.value_kind = ValueKind::kToken; break;
    case v1::VALUE_KIND_VECTOR: spec.value_kind = ValueKind::kVector; break;
    case v1::VALUE_KIND_SPARSE_VECTOR: spec.value_kind = ValueKind::kSparseVector; break;
    case v1::VALUE_KIND_BYTES: spec.value_kind = ValueKind::kBytes; break;
    default:
      errors.Add("memory.value_kind",
                 absl::StrCat("is ", static_cast<int>(description.value_kind()),
                              "; must be VALUE_KIND_TOKEN, _VECTOR, _SPARSE_VECTOR or _BYTES"));
      return;
  }
  ReadVocabulary(description, spec, errors);
  const bool vector = spec.value_kind == ValueKind::kVector;
  if (vector && (spec.value_dimension == 0 || spec.value_dimension > limits::kMaxValueDimension)) {
    errors.Add("memory.value_dimension", MustBeIn(spec.value_dimension, 1, limits::kMaxValueDimension));
  } else if (!vector && spec.value_dimension != 0) {
    errors.Add("memory.value_dimension", "is set; only memories of VECTOR values have one");
  }
}

void ReadText(const char* field, const std::string& text, std::string& out, FieldErrors& errors) {
  if (text.size() > limits::kMaxFingerprintFieldBytes) {
    errors.Add(absl::StrCat("memory.fingerprint.", field),
               absl::StrCat("has ", text.size(), " bytes; must have at most ", limits::kMaxFingerprintFieldBytes));
  }
  out = text;
}

void ReadFingerprint(const v1::Fingerprint& wire, MemorySpec& spec, FieldErrors& errors) {
  Fingerprint& out = spec.fingerprint;
  ReadText("model", wire.model(), out.model, errors);
  ReadText("revision", wire.revision(), out.revision, errors);
  ReadText("layer", wire.layer(), out.layer, errors);
  ReadText("tokenizer_hash", wire.tokenizer_hash(), out.tokenizer_hash, errors);
  ReadText("normalization", wire.normalization(), out.normalization, errors);
  out.vocabulary_size = wire.vocabulary_size();
}

absl::Status CheckText(const std::string& field, const char* name, const std::string& stored, const std::string& given,
                       const MemorySpec& spec) {
  if (stored.empty() || given.empty() || stored == given) return absl::OkStatus();
  // A given text of any length must not crowd out the details.
  const std::string told(Utf8Prefix(given, limits::kMaxFingerprintFieldBytes));
  const std::string path = absl::StrCat(field, ".", name);
  const absl::Status error = absl::FailedPreconditionError(
      absl::StrCat(path, " is \"", told, "\"; memory \"", spec.name, "\" was made with \"", stored, "\""));
  return WithPrecondition(
      WithErrorInfo(error, reason::kFingerprintMismatch, {{"field", name}, {"stored", stored}, {"given", told}}),
      reason::kFingerprintMismatch, path);
}

std::string NumberText(uint32_t number) { return number == 0 ? "" : absl::StrCat(number); }

}  // namespace

absl::Status CheckMemoryName(const std::string& field, const std::string& name) {
  if (name.empty()) return FieldError(field, "is empty; must be a name");
  if (name.size() > limits::kMaxMemoryNameBytes) {
    return FieldError(field,
                      absl::StrCat("has ", name.size(), " bytes; must have at most ", limits::kMaxMemoryNameBytes));
  }
  if (!IsNameStart(name.front()) || !std::all_of(name.begin(), name.end(), IsNamePart)) {
    return FieldError(field, "must be made of a-z, 0-9, '.', '_', '-' and start with a letter or digit");
  }
  return absl::OkStatus();
}

absl::Status ReadMemory(const v1::MemoryDescription& description, MemorySpec& spec) {
  RETURN_IF_ERROR(CheckMemoryName("memory.name", description.name()));
  FieldErrors errors;
  spec.name = description.name();
  spec.dimension = description.dimension();
  if (spec.dimension == 0 || spec.dimension > limits::kMaxDimension) {
    errors.Add("memory.dimension", MustBeIn(spec.dimension, 1, limits::kMaxDimension));
  }
  ReadMetric(description, spec, errors);
  ReadKeyDtype(description, spec, errors);
  ReadSpread(description, spec, errors);
  ReadIndex(description, spec, errors);
  ReadCapacity(description, spec, errors);
  ReadValueKind(description, spec, errors);
  ReadFingerprint(description.fingerprint(), spec, errors);
  return errors.ToStatus();
}

void WriteMemory(const MemoryRecord& record, v1::MemoryDescription* out) {
  const MemorySpec& spec = record.spec;
  out->set_name(spec.name);
  out->set_dimension(spec.dimension);
  out->set_metric(static_cast<v1::Metric>(spec.metric));
  out->set_key_dtype(WriteDtype(spec.key_dtype));
  out->set_value_kind(static_cast<v1::ValueKind>(spec.value_kind));
  out->set_vocabulary_size(spec.vocabulary_size);
  out->set_value_dimension(spec.value_dimension);
  out->set_spread(static_cast<v1::Spread>(spec.spread));
  out->set_index(FormatIndexChoice(spec.index));
  out->set_capacity(spec.capacity);
  v1::Fingerprint* fingerprint = out->mutable_fingerprint();
  fingerprint->set_model(spec.fingerprint.model);
  fingerprint->set_revision(spec.fingerprint.revision);
  fingerprint->set_layer(spec.fingerprint.layer);
  fingerprint->set_tokenizer_hash(spec.fingerprint.tokenizer_hash);
  fingerprint->set_vocabulary_size(spec.fingerprint.vocabulary_size);
  fingerprint->set_normalization(spec.fingerprint.normalization);
  out->set_number(record.number);
  out->set_created_ms(record.created_ms);
}

absl::Status CheckFingerprint(const std::string& field, const v1::Fingerprint& given, const MemorySpec& spec) {
  const Fingerprint& stored = spec.fingerprint;
  RETURN_IF_ERROR(CheckText(field, "model", stored.model, given.model(), spec));
  RETURN_IF_ERROR(CheckText(field, "revision", stored.revision, given.revision(), spec));
  RETURN_IF_ERROR(CheckText(field, "layer", stored.layer, given.layer(), spec));
  RETURN_IF_ERROR(CheckText(field, "tokenizer_hash", stored.tokenizer_hash, given.tokenizer_hash(), spec));
  RETURN_IF_ERROR(CheckText(field, "vocabulary_size", NumberText(stored.vocabulary_size),
                            NumberText(given.vocabulary_size()), spec));
  return CheckText(field, "normalization", stored.normalization, given.normalization(), spec);
}

absl::Status ReadDurability(const std::string& field, v1::Durability wire, Durability& out) {
  switch (wire) {
    case v1::DURABILITY_UNSPECIFIED:
    case v1::DURABILITY_SYNC: out = Durability::kSync; return absl::OkStatus();
    case v1::DURABILITY_WRITTEN: out = Durability::kWritten; return absl::OkStatus();
    default: break;
  }
  return FieldError(field,
                    absl::StrCat("is ", static_cast<int>(wire), "; must be DURABILITY_SYNC or DURABILITY_WRITTEN"));
}

v1::Durability WriteDurability(Durability durability) {
  return durability == Durability::kWritten ? v1::DURABILITY_WRITTEN : v1::DURABILITY_SYNC;
}

}  // namespace mneme
