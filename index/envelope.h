// Envelope: the checksummed container of every index file. A file whose bytes are not those that were written is
// refused, never read (I2).
//
// Layout (docs/formats.md): a header page with checksum, magic, version, kind, identity and the list of sections; the
// sections, each padded to 64 bytes; one XXH3-64 per 64 KiB block of them, in a table that the header covers.
#ifndef MNEME_INDEX_ENVELOPE_H_
#define MNEME_INDEX_ENVELOPE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mneme {

// Stored on disk: do not renumber.
enum class EnvelopeKind : uint32_t { kCodebook = 1, kSegment = 2 };

// Says whose file it is: a file of another memory, partition, codebook or number is refused even when it is whole.
struct EnvelopeIdentity {
  uint64_t deployment = 0;
  uint32_t memory = 0;
  uint64_t partition = 0;
  uint64_t file_number = 0;
  friend bool operator==(const EnvelopeIdentity&, const EnvelopeIdentity&) = default;
};

// Writes sections one after another to `path` + ".tmp"; Finish() syncs, renames and syncs the directory.
// Not thread-safe. An unfinished file is removed by the destructor.
class EnvelopeWriter {
 public:
  static absl::StatusOr<std::unique_ptr<EnvelopeWriter>> New(std::string path, EnvelopeKind kind,
                                                             const EnvelopeIdentity& identity);
  ~EnvelopeWriter();

  // Starts section `id` (unique in the file); Append() adds to it.
  absl::Status BeginSection(uint32_t id);
  absl::Status Append(std::string_view bytes);
  absl::Status AddSection(uint32_t id, std::string_view bytes);
  // Adds section `id` of `bytes` zeros, mapped for writing in any order until Finish(). RESOURCE_EXHAUSTED when the
  // disk has no room for it (a mapped write could not say so).
  absl::StatusOr<char*> MapSection(uint32_t id, uint64_t bytes);
  // Sums up, syncs, renames. The size of the file in bytes.
  absl::StatusOr<uint64_t> Finish();

 private:
  struct State;
  explicit EnvelopeWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A mapped, verified file. Thread-safe (immutable).
class Envelope {
 public:
  // Maps `path` and verifies every byte. DATA_LOSS when the file is missing, damaged, truncated, of another kind,
  // version or identity; the message says which.
  static absl::StatusOr<std::unique_ptr<Envelope>> Open(const std::string& path, EnvelopeKind kind,
                                                        const EnvelopeIdentity& identity);
  ~Envelope();

  // The bytes of section `id`, 64-byte aligned; empty when the file has none.
  std::string_view Section(uint32_t id) const;
  uint64_t file_bytes() const;
  // Unmaps every page until it is read again, so that what only the verification has read is not ram of this process.
  void LetGo() const;
  // From any byte of a section to the same byte in a second map of the file, of which a fault brings in one page and
  // not those around it. Ram of the process is counted for each map, so a column is best read through one of them.
  ptrdiff_t sparse_map() const;

 private:
  struct State;
  explicit Envelope(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_ENVELOPE_H_
