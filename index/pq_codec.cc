// Product quantisers (Jegou, Douze and Schmid 2011) of residuals: M columns of d / M components, each coded as the
// nearest of 16 or 256 trained sub-vectors.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "index/codecs.h"
#include "index/kernels/nibble_scan.h"
#include "index/kernels/table_scan.h"
#include "index/kmeans.h"
#include "index/nearest_centroid.h"
#include "index/nibble_tables.h"

namespace mneme {
namespace {

// Sub-vectors are trained on this many rows each: more changes them little.
constexpr size_t kRowsPerSubvector = 64;

class TableQueries final : public CodeQueries {
 public:
  TableQueries(size_t columns, size_t queries) : columns_(columns), tables_(queries * columns * 256) {}

  float* tables(size_t q) { return tables_.data() + q * columns_ * 256; }

  void Scan(absl::Span<const uint32_t> queries, const float* bases, const float* cuts, const char* blocks, size_t rows,
            CodeHits* hits) const override {
    for (size_t i = 0; i < queries.size(); ++i) {
      const TableQuery query{tables_.data() + queries[i] * columns_ * 256, bases[i]};
      ScanTables(query, columns_, blocks, rows, cuts[i], hits[i]);
    }
  }

 private:
  const size_t columns_;
  std::vector<float> tables_;
};

class PqCodec final : public Codec {
 public:
  // `subvectors` [M x 2^bits x d / M].
  PqCodec(const CodecChoice& choice, const CodecFrame& frame, std::vector<float> subvectors)
      : choice_(choice), frame_(frame), mean_(frame.Mean()), subvectors_(std::move(subvectors)) {}

  CodecChoice choice() const override { return choice_; }
  size_t block_bytes() const override {
    return four_bits() ? NibbleBlockBytes(columns()) : TableBlockBytes(columns());
  }
  std::string Parameters() const override {
    return {reinterpret_cast<const char*>(subvectors_.data()), subvectors_.size() * sizeof(float)};
  }

  void Encode(const float* centroid, const float* keys, size_t count, char* block) const override {
    const size_t d = frame_.spec.dimension;
    std::memset(block, 0, block_bytes());
    std::vector<float> parts(count * width());
    std::vector<uint32_t> nearest(count);
    std::vector<double> terms(count, 0.0);
    std::vector<double> residuals(count, 0.0);
    for (size_t m = 0; m < columns(); ++m) {
      for (size_t row = 0; row < count; ++row) {
        for (size_t i = 0; i < width(); ++i) {
          const size_t component = m * width() + i;
          const float residual = keys[row * d + component] - centroid[component];
          parts[row * width() + i] = residual;
          residuals[row] += double{residual} * residual;
        }
      }
      NearestCentroids({Metric::kL2, width()}, parts.data(), count, Column(m), entries(), nearest.data(), nullptr);
      for (size_t row = 0; row < count; ++row) {
        Put(block, row, m, nearest[row]);
        const float* coded = Column(m) + nearest[row] * width();
        for (size_t i = 0; i < width() && frame_.IsL2(); ++i) {
          const size_t component = m * width() + i;
          terms[row] += coded[i] * (double{coded[i]} + 2.0 * (double{centroid[component]} - mean_[component]));
        }
      }
    }
    for (size_t row = 0; row < count; ++row) {
      PutTerm(block, row,
              frame_.IsFarOut(residuals[row]) ? -std::numeric_limits<float>::infinity()
                                              : static_cast<float>(terms[row]));
    }
  }

  std::unique_ptr<CodeQueries> Prepare(const float* queries, size_t count) const override {
    if (!four_bits()) {
      auto prepared = std::make_unique<TableQueries>(columns(), count);
      for (size_t q = 0; q < count; ++q) FillTables(queries + q * frame_.spec.dimension, prepared->tables(q));
      return prepared;
    }
    auto prepared = std::make_unique<NibbleTables>(columns(), count);
    std::vector<float> tables(columns() * 16);
    for (size_t q = 0; q < count; ++q) {
      FillTables(queries + q * frame_.spec.dimension, tables.data());
      prepared->Set(q, tables.data());
    }
    return prepared;
  }

 private:
  bool four_bits() const { return choice_.bits == 4; }
  size_t columns() const { return choice_.columns; }
  size_t entries() const { return size_t{1} << choice_.bits; }
  size_t width() const { return frame_.spec.dimension / columns(); }
  const float* Column(size_t m) const { return subvectors_.data() + m * entries() * width(); }

  void Put(char* block, size_t row, size_t m, uint32_t code) const {
    if (four_bits()) {
      block[NibbleOffset(row, m)] |= static_cast<char>(code << (m % 2 * 4));
    } else {
      block[m * kCodeBlockRows + row] = static_cast<char>(static_cast<uint8_t>(code));
    }
  }
  void PutTerm(char* block, size_t row, float term) const {
    const float one = 1.0F;
    char* terms = block + kCodeBlockRows * (four_bits() ? NibblePairs(columns()) : columns());
    std::memcpy(terms + row * sizeof(float), &term, sizeof(term));
    if (four_bits()) std::memcpy(terms + (kCodeBlockRows + row) * sizeof(float), &one, sizeof(one));
  }

  // tables[m][code] = the part of -2 <q', r^> (or -<q', r^>) that column m brings.
  void FillTables(const float* query, float* tables) const {
    const float weight = frame_.IsL2() ? -2.0F : -1.0F;
    for (size_t m = 0; m < columns(); ++m) {
      for (size_t code = 0; code < entries(); ++code) {
        const float* coded = Column(m) + code * width();
        float product = 0.0F;
        for (size_t i = 0; i < width(); ++i) {
          product += (query[m * width() + i] - mean_[m * width() + i]) * coded[i];
        }
        tables[m * entries() + code] = weight * product;
      }
    }
  }

  const CodecChoice choice_;
  const CodecFrame frame_;
  const std::vector<float> mean_;
  const std::vector<float> subvectors_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Codec>> TrainPqCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                    absl::Span<const float> residuals) {
  const size_t d = frame.spec.dimension;
  const size_t width = d / choice.columns;
  const size_t entries = size_t{1} << choice.bits;
  const size_t count = residuals.size() / d;
  const size_t taken = std::min(count, entries * kRowsPerSubvector);
  if (taken == 0) return absl::FailedPreconditionError("no row is left to train a product quantiser on");
  std::vector<float> subvectors(d * entries, 0.0F);
  std::vector<float> sample(taken * width);
  for (size_t m = 0; m < choice.columns; ++m) {
    for (size_t i = 0; i < taken; ++i) {
      const float* row = residuals.data() + i * count / taken * d + m * width;
      std::copy(row, row + width, sample.begin() + static_cast<ptrdiff_t>(i * width));
    }
    // Fewer rows than entries: the entries beyond stay zero, and are the nearest of nothing that they do not fit.
    const uint32_t lists = static_cast<uint32_t>(std::min(entries, taken));
    ASSIGN_OR_RETURN(const AlignedBuffer column,
                     TrainCentroids(sample, static_cast<uint32_t>(width), lists, CentroidNorm::kFree, {}));
    std::memcpy(subvectors.data() + m * entries * width, column.data(), column.size());
  }
  return std::unique_ptr<Codec>(std::make_unique<PqCodec>(choice, frame, std::move(subvectors)));
}

absl::StatusOr<std::unique_ptr<Codec>> OpenPqCodec(const CodecChoice& choice, const CodecFrame& frame,
                                                   std::string_view parameters) {
  const size_t d = frame.spec.dimension;
  const bool possible = (choice.bits == 4 || choice.bits == 8) && choice.columns != 0 &&
                        d % choice.columns == 0;
  const size_t bytes = possible ? (d << choice.bits) * sizeof(float) : 0;
  if (!possible || parameters.size() != bytes) {
    return absl::DataLossError(absl::StrCat("product quantiser parameters have ", parameters.size(),
                                            " bytes; must have ", bytes));
  }
  std::vector<float> subvectors(bytes / sizeof(float));
  std::memcpy(subvectors.data(), parameters.data(), bytes);
  return std::unique_ptr<Codec>(std::make_unique<PqCodec>(choice, frame, std::move(subvectors)));
}

}  // namespace mneme
