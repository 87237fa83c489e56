// IndexChoice: how a memory wants its sealed rows indexed, with its one spelling for people, wire and catalogue.
#ifndef MNEME_COMMON_INDEX_CHOICE_H_
#define MNEME_COMMON_INDEX_CHOICE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mneme {

// What the fast pass of an approximate search reads of a row. Stored on disk: do not renumber.
enum class CodecKind : uint8_t {
  kAuto = 0,    // chosen when a codebook is trained, by the dimension and the number of rows (index/codec.h)
  kFlat = 1,    // the stored key itself
  kF16 = 2,     // halves: half the bytes of a memory of f32 keys
  kInt8 = 3,    // one byte a component, of the residual to the centroid
  kPq = 4,      // product quantiser (Jegou, Douze and Schmid 2011) of the residual
  kRabitq = 5,  // B bits a component after a random rotation (Gao and Long 2024)
  kPca = 6,     // one byte for each of D principal components of the residual
  kOpq = 7,     // product quantiser after a learnt rotation (Ge, He, Ke and Sun 2013)
};

struct CodecChoice {
  CodecKind kind = CodecKind::kAuto;
  uint32_t columns = 0;  // of a code. PQ, OPQ: M, which divides the dimension; PCA: D, at most the dimension
  uint32_t bits = 0;     // PQ, OPQ: of each column, 4 or 8; RaBitQ: B
  friend bool operator==(const CodecChoice&, const CodecChoice&) = default;
};

struct IndexChoice {
  CodecChoice codec;
  uint32_t lists = 0;  // of the inverted file; 0: by the number of rows
  friend bool operator==(const IndexChoice&, const IndexChoice&) = default;
};

// Reads `auto`, `flat`, `f16`, `int8`, `pq:M`, `pq:Mx4`, `rabitq:B`, `pca:D`, `opq:M`, `opq:Mx4` (also `opq:M,pq:M`),
// or a FAISS factory string that means one of them (`Flat`, `IVFn,Flat`, `IVFn,SQfp16`, `IVFn,SQ8`, `IVFn,PQM`,
// `IVFn,PQMx4fs`, `IVFn,RaBitQ`, `PCAD,IVFn,SQ8`, `OPQM,IVFn,PQM`); empty is `auto`. Lists are always those of whole
// keys, also for `PCAD,IVFn,SQ8`, which in FAISS clusters what is left of them.
// INVALID_ARGUMENT names what is wrong with it: a spelling, an M that does not divide `dimension`, a number out of
// range.
absl::StatusOr<IndexChoice> ParseIndexChoice(std::string_view text, uint32_t dimension);

// The canonical spelling: what ParseIndexChoice reads back as the same choice (`int8`, `IVF4096,int8`).
std::string FormatIndexChoice(const IndexChoice& choice);

}  // namespace mneme

#endif  // MNEME_COMMON_INDEX_CHOICE_H_
