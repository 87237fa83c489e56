// An index file's sections in few bytes: id u8 | bytes u32 | bytes, one after the other. What the envelope says of them
// is always right, so that a target reaches what lies behind it.
#ifndef MNEME_TESTS_FUZZ_INDEX_FILE_H_
#define MNEME_TESTS_FUZZ_INDEX_FILE_H_

#include <set>
#include <string>

#include "index/envelope.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {

inline const EnvelopeIdentity kIdentity{1, 2, 3, 4};

// Writes a file of the sections in `in` and returns its path.
inline std::string WriteIndexFile(EnvelopeKind kind, Input in) {
  const std::string path = ScratchDirectory() + "/index";
  auto writer = EnvelopeWriter::New(path, kind, kIdentity);
  Expect(writer.ok(), "an index file can be made");
  std::set<uint8_t> written;
  while (!in.empty() && written.size() < 40) {
    const uint8_t id = in.Byte();
    const std::string_view bytes = in.Bytes(in.Number<uint32_t>());
    if (!written.insert(id).second) continue;
    Expect((*writer)->AddSection(id, bytes).ok(), "a section can be written");
  }
  Expect((*writer)->Finish().ok(), "an index file can be written");
  return path;
}

// The sections of a file that was written.
inline std::string SectionsOf(const std::string& path, EnvelopeKind kind) {
  const auto file = Envelope::Open(path, kind, kIdentity);
  Expect(file.ok(), "a file that was written can be opened");
  std::string out;
  for (uint32_t id = 1; id < 40; ++id) {
    const std::string_view bytes = (*file)->Section(id);
    if (bytes.empty()) continue;
    out.push_back(static_cast<char>(id));
    const auto size = static_cast<uint32_t>(bytes.size());
    out.append(reinterpret_cast<const char*>(&size), sizeof(size));
    out.append(bytes);
  }
  return out;
}

}  // namespace mneme::fuzz

#endif  // MNEME_TESTS_FUZZ_INDEX_FILE_H_
