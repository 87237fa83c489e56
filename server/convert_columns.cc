#include "server/convert_columns.h"

#include <cstdint>

namespace mneme {

absl::Status ReadOffsets(const std::string& field, const std::string& bytes, size_t count, size_t end,
                         std::vector<size_t>& out) {
  std::vector<uint64_t> offsets;
  RETURN_IF_ERROR(ReadColumn(field, bytes, count + 1, offsets));
  if (offsets.empty()) {
    return FieldError(field, absl::StrCat("is empty; must have ", count + 1, " items"));
  }
  if (offsets.front() != 0) return FieldError(field, absl::StrCat("starts at ", offsets.front(), "; must start at 0"));
  for (size_t i = 0; i < count; ++i) {
    if (offsets[i + 1] < offsets[i]) {
      return FieldError(absl::StrCat(field, "[", i + 1, "]"),
                        absl::StrCat("is ", offsets[i + 1], "; must be at least ", offsets[i], ", the one before"));
    }
  }
  if (offsets.back() != end) {
    return FieldError(field, absl::StrCat("ends at ", offsets.back(), "; must end at ", end));
  }
  out.assign(offsets.begin(), offsets.end());
  return absl::OkStatus();
}

void AppendReals(absl::Span<const double> items, v1::Precision precision, std::string* out) {
  if (precision != v1::PRECISION_SINGLE) {
    out->append(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(double));
    return;
  }
  const size_t old = out->size();
  out->resize(old + items.size() * sizeof(float));
  char* write = out->data() + old;
  for (const double item : items) {
    const auto narrow = static_cast<float>(item);
    std::memcpy(write, &narrow, sizeof(narrow));
    write += sizeof(narrow);
  }
}

}  // namespace mneme
