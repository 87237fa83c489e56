// IndexSpec: what the index of one memory must know of it.
#ifndef MNEME_INDEX_INDEX_SPEC_H_
#define MNEME_INDEX_INDEX_SPEC_H_

#include <cstddef>
#include <cstdint>

#include "common/index_choice.h"
#include "common/types.h"

namespace mneme {

struct IndexSpec {
  uint32_t dimension = 0;
  Metric metric = Metric::kL2;
  Dtype key_dtype = Dtype::kF32;
  size_t value_bytes = 0;  // 0: each value has its own length
  IndexChoice index = {};  // what a new codebook is trained as; files of another choice stay good

  size_t KeyBytes() const { return size_t{dimension} * DtypeBytes(key_dtype); }
  friend bool operator==(const IndexSpec&, const IndexSpec&) = default;
};

inline IndexSpec MakeIndexSpec(const MemorySpec& memory) {
  return {memory.dimension, memory.metric, memory.key_dtype, memory.ValueBytes(), memory.index};
}

}  // namespace mneme

#endif  // MNEME_INDEX_INDEX_SPEC_H_
