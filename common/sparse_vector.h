// A SPARSE_VECTOR value as it is stored: f32 remainder, u32 indices[n] ascending, f16 components[n], little endian. The
// vector's components that are not listed sum to the remainder, in equal parts.
#ifndef MNEME_COMMON_SPARSE_VECTOR_H_
#define MNEME_COMMON_SPARSE_VECTOR_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/types.h"

namespace mneme {

inline constexpr size_t kSparseComponentBytes = sizeof(uint32_t) + sizeof(uint16_t);

constexpr size_t SparseVectorBytes(size_t listed) { return sizeof(float) + listed * kSparseComponentBytes; }

// A decoded value.
struct SparseVector {
  std::vector<Token> indices;
  std::vector<float> components;
  float remainder = 0.0F;
};

// `halves` are as long as `indices`.
void AppendSparseVector(const Token* indices, const uint16_t* halves, size_t listed, float remainder,
                        std::vector<char>& out);
// False when `stored` is no sparse vector.
bool DecodeSparseVector(std::string_view stored, SparseVector& out);

}  // namespace mneme

#endif  // MNEME_COMMON_SPARSE_VECTOR_H_
