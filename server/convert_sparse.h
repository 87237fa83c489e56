// Sparse vectors on the wire and as they are stored (common/sparse_vector.h). Pure; thread-safe.
#ifndef MNEME_SERVER_CONVERT_SPARSE_H_
#define MNEME_SERVER_CONVERT_SPARSE_H_

#include <string>

#include "absl/status/status.h"
#include "common/columns.h"
#include "common/types.h"
#include "mneme/v1/types.pb.h"

namespace mneme {

// `count` values as they are stored. INVALID_ARGUMENT names the field: components that do not ascend or lie outside of
// the vocabulary, that are not finite as f16, too many of them, or a remainder where every component is listed.
absl::Status ReadSparseVectors(const std::string& field, const v1::SparseVectors& wire, const MemorySpec& spec,
                               size_t count, ValueColumn& out);

// `values` were stored so.
void WriteSparseVectors(const ValueColumn& values, v1::SparseVectors* out);

}  // namespace mneme

#endif  // MNEME_SERVER_CONVERT_SPARSE_H_
