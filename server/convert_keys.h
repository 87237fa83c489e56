// Keys on the wire: packed vectors of any dtype to checked, aligned rows. Pure; thread-safe.
//
// Every error is INVALID_ARGUMENT and names the row ("keys[3] has a NaN at component 17").
#ifndef MNEME_SERVER_CONVERT_KEYS_H_
#define MNEME_SERVER_CONVERT_KEYS_H_

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/aligned_buffer.h"
#include "common/types.h"
#include "mneme/v1/types.pb.h"

namespace mneme {

// F32, F16 or BF16; anything else is an error.
absl::Status ReadDtype(const std::string& field, v1::Dtype wire, Dtype& out);
v1::Dtype WriteDtype(Dtype dtype);

// `vectors` as [count x dimension] f32, 1 to `max_rows` rows, finite, of magnitude at most kMaxKeyComponent and, under
// cosine, not of norm zero.
absl::Status DecodeKeys(const std::string& field, const v1::Vectors& vectors, const MemorySpec& spec, size_t max_rows,
                        AlignedBuffer& out, size_t& count);

// f32 rows that DecodeKeys made, rounded once to the memory's key dtype. An insert and an append of a query's keys both
// come through here, so that the same wire keys are the same stored bytes.
absl::Status EncodeStoredKeys(const std::string& field, AlignedBuffer rows, const MemorySpec& spec,
                              AlignedBuffer& out);

// DecodeKeys and EncodeStoredKeys in one: what an insert stores. Finite halves for a memory of halves are copied as
// they are, which is what rounding them would give.
absl::Status ReadStoredKeys(const std::string& field, const v1::Vectors& vectors, const MemorySpec& spec,
                            size_t max_rows, AlignedBuffer& out, size_t& count);

// [count x dimension] f32 of a VECTOR value or of given rows, each of magnitude at most `bound`: any that is finite,
// without the bounds of keys.
absl::Status DecodeFinite(const std::string& field, const v1::Vectors& vectors, size_t dimension, size_t count,
                          std::vector<char>& out, float bound = std::numeric_limits<float>::max());

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_KEYS_H_
