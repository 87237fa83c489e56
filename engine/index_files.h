// IndexFiles: the index directory of one shard: names, numbers and identities of its files. All of them may be deleted
// at any time the shard is closed (I2).
#ifndef MNEME_ENGINE_INDEX_FILES_H_
#define MNEME_ENGINE_INDEX_FILES_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "index/codebook.h"
#include "index/envelope.h"
#include "index/segment.h"
#include "storage/entry_store.h"

namespace mneme {

// Thread-safe.
class IndexFiles {
 public:
  // Creates `directory` when it is not there. `deployment` goes into the identity of every file.
  static absl::StatusOr<std::unique_ptr<IndexFiles>> Open(std::string directory, uint64_t deployment);

  // A number that no file here has or had since the directory was opened.
  uint64_t NextNumber() { return next_number_.fetch_add(1); }
  // Numbers up to `number` are in use.
  void ReserveThrough(uint64_t number);

  std::string SegmentPath(uint64_t number) const;
  std::string CodebookPath(uint64_t number) const;
  EnvelopeIdentity Identity(const PartitionKey& key, uint64_t number) const;

  // DATA_LOSS when the file is missing, damaged or not the one that the record names.
  absl::StatusOr<std::shared_ptr<const Segment>> OpenSegment(const SegmentRecord& record, const IndexSpec& spec) const;
  absl::StatusOr<std::shared_ptr<const Codebook>> OpenCodebook(const PartitionKey& key, uint64_t number,
                                                               const IndexSpec& spec) const;

  void RemoveSegment(uint64_t number) const;
  void RemoveCodebook(uint64_t number) const;
  // The paths of files whose number is not in `referenced`: what a crash, or a removal that failed, left behind; and
  // removes them.
  std::vector<std::string> AllBut(const std::set<uint64_t>& referenced) const;
  void RemoveAllBut(const std::set<uint64_t>& referenced) const;

 private:
  IndexFiles(std::string directory, uint64_t deployment);

  const std::string directory_;
  const uint64_t deployment_;
  std::atomic<uint64_t> next_number_{1};
};

}  // namespace mneme

#endif  // MNEME_ENGINE_INDEX_FILES_H_
