#include "common/sparse_vector.h"

#include <cstring>

#include "common/vector_codec.h"

namespace mneme {

void AppendSparseVector(const Token* indices, const uint16_t* halves, size_t listed, float remainder,
                        std::vector<char>& out) {
  const auto append = [&out](const void* bytes, size_t count) {
    const char* first = static_cast<const char*>(bytes);
    out.insert(out.end(), first, first + count);
  };
  append(&remainder, sizeof(remainder));
  append(indices, listed * sizeof(Token));
  append(halves, listed * sizeof(uint16_t));
}

bool DecodeSparseVector(std::string_view stored, SparseVector& out) {
  if (stored.size() < sizeof(float) || (stored.size() - sizeof(float)) % kSparseComponentBytes != 0) return false;
  const size_t listed = (stored.size() - sizeof(float)) / kSparseComponentBytes;
  std::memcpy(&out.remainder, stored.data(), sizeof(float));
  out.indices.resize(listed);
  out.components.resize(listed);
  const char* from = stored.data() + sizeof(float);
  if (listed != 0) std::memcpy(out.indices.data(), from, listed * sizeof(Token));
  DecodeVector(Dtype::kF16, from + listed * sizeof(Token), listed, out.components.data());
  return true;
}

}  // namespace mneme
