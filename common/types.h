// The glossary as C++ types: what every room means by memory, entry, key, value, partition, row and sequence.
#ifndef MNEME_COMMON_TYPES_H_
#define MNEME_COMMON_TYPES_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/index_choice.h"

namespace mneme {

using MemoryNumber = uint32_t;  // names a memory in stored bytes; never reused
using PartitionId = uint64_t;   // a part of a memory; 0 by default
using EntryId = uint64_t;       // unique within (memory, partition)
using Row = uint64_t;           // dense position of an entry in its (memory, partition) on its shard, in commit order
using Sequence = uint64_t;      // commit number of a shard, from 1; 0 means "nothing"
using Token = uint32_t;         // an id of the model's vocabulary

// Stored on disk: do not renumber.
enum class Metric : uint8_t {
  kL2 = 1,            // squared Euclidean distance; score = -distance
  kInnerProduct = 2,  // score = inner product
  kCosine = 3,        // score = inner product of unit vectors
};

// Stored on disk: do not renumber.
enum class Dtype : uint8_t {
  kF32 = 1,
  kF16 = 2,
  kBF16 = 3,  // on the wire only
};

// Stored on disk: do not renumber.
enum class ValueKind : uint8_t {
  kToken = 1,         // u32, checked against the vocabulary size
  kVector = 2,        // f32[m]
  kSparseVector = 3,  // listed components of a vector over the vocabulary (common/sparse_vector.h)
  kBytes = 4,
};

// Stored on disk: do not renumber.
enum class Spread : uint8_t {
  kAll = 1,  // partition 0 is spread over all shards by hash of the id
  kOne = 2,  // the whole memory lives on one shard
};

// What an acknowledgement promises.
enum class Durability : uint8_t {
  kWritten = 1,  // survives a killed process
  kSync = 2,     // survives power loss
};

constexpr size_t DtypeBytes(Dtype dtype) { return dtype == Dtype::kF32 ? 4 : 2; }

// What made the keys. Checked, never guessed: an empty field (or 0) says nothing and matches everything.
struct Fingerprint {
  std::string model;
  std::string revision;
  std::string layer;
  std::string tokenizer_hash;
  uint32_t vocabulary_size = 0;
  std::string normalization;

  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

// What a memory is; fixed at its creation.
struct MemorySpec {
  std::string name;
  uint32_t dimension = 0;
  Metric metric = Metric::kL2;
  Dtype key_dtype = Dtype::kF32;  // kF32 or kF16: keys are rounded once, on arrival
  ValueKind value_kind = ValueKind::kToken;
  uint32_t vocabulary_size = 0;  // TOKEN: values are below it; 0 = any u32. SPARSE_VECTOR: the width, never 0
  uint32_t value_dimension = 0;  // VECTOR: m
  Spread spread = Spread::kAll;
  IndexChoice index{};
  uint64_t capacity = 0;  // entries of each partition, the oldest of which make room; 0: no bound; needs kOne
  Fingerprint fingerprint;

  size_t KeyBytes() const { return size_t{dimension} * DtypeBytes(key_dtype); }
  // Bytes of one value, or 0 when each has its own length.
  size_t ValueBytes() const {
    switch (value_kind) {
      case ValueKind::kToken: return sizeof(Token);
      case ValueKind::kVector: return size_t{value_dimension} * sizeof(float);
      case ValueKind::kSparseVector:
      case ValueKind::kBytes: return 0;
    }
    return 0;
  }
  friend bool operator==(const MemorySpec&, const MemorySpec&) = default;
};

}  // namespace mneme

#endif  // MNEME_COMMON_TYPES_H_
