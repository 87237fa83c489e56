// Backups, as directories of them and stores of objects hold them: manifests, which of them belong together, and what
// a store lists. An input of more than one file is for each u8 flags | u8 length | name | u16 length | bytes.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/limits.h"
#include "storage/backup_copy.h"
#include "storage/backup_folder.h"
#include "storage/backup_sets.h"
#include "storage/format.h"
#include "tests/fuzz/fuzz.h"

namespace mneme::fuzz {
namespace {

using absl::StatusCode;

enum Kind : uint8_t { kManifest, kSummed, kDirectory, kStore, kKinds };
// Of a file: the checksum of a manifest is set right; a store says that it is longer than it is.
enum Flag : uint8_t { kSum = 1, kLonger = 2 };

// docs/formats.md, "Backups".
constexpr uint64_t kBackupSeed = 0x6261636B75707321ULL;
constexpr size_t kMostFiles = 16;

using Files = std::map<std::string, std::string>;

std::string Summed(std::string_view lines) {
  return absl::StrFormat("%schecksum %016x\n", std::string(lines), Checksum64(lines, kBackupSeed));
}

bool Manifest(std::string_view text) {
  return Through(format::DecodeBackupManifest(text), text, format::EncodeBackupManifest,
                 {StatusCode::kDataLoss, StatusCode::kFailedPrecondition}, {"manifest is damaged", "has format"});
}

struct File {
  uint8_t flags = 0;
  std::string name;
  std::string bytes;
};

std::vector<File> FilesOf(Input in) {
  std::vector<File> files;
  while (!in.empty() && files.size() < kMostFiles) {
    File& file = files.emplace_back();
    file.flags = in.Byte();
    file.name = std::string(in.Bytes(in.Byte()));
    const std::string_view bytes = in.Bytes(in.Number<uint16_t>());
    file.bytes = (file.flags & kSum) != 0 ? Summed(bytes) : std::string(bytes);
  }
  return files;
}

// An empty directory of its own for each use.
std::string Fresh(const char* name) {
  const std::string path = absl::StrCat(ScratchDirectory(), "/", name);
  std::error_code error;
  std::filesystem::remove_all(path, error);
  std::filesystem::create_directories(path, error);
  return path;
}

void Write(const std::string& path, const std::string& bytes) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  std::ofstream(path, std::ios::binary) << bytes;
}

// Its files, but for locks, by their names in it.
Files Contents(const std::string& directory) {
  Files files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file() || entry.path().filename() == "LOCK") continue;
    std::ifstream stream(entry.path(), std::ios::binary);
    files[entry.path().lexically_relative(directory).string()] = {std::istreambuf_iterator<char>(stream), {}};
  }
  return files;
}

// Whoever looks for a backup finds a whole one, or is told which of it is missing.
bool LookFor(const std::string& directory, uint64_t number, std::optional<uint32_t> shard) {
  const auto found = FindBackup(directory, number, shard);
  if (!found.ok()) {
    ExpectRefusal(found.status(), {StatusCode::kNotFound, StatusCode::kFailedPrecondition, StatusCode::kDataLoss},
                  {"has no backup", "cannot be restored", "is not whole", "not restored alone"});
    return false;
  }
  const BackupManifest& manifest = found->manifest;
  Expect(found->folders.size() == manifest.stores.size(), "every store has a folder");
  Expect(number == 0 || manifest.number == number, "it is the one that was asked for");
  Expect(shard.has_value() || manifest.stores.size() == size_t{manifest.shards} + 1, "every shard has a store");
  for (size_t i = 0; i < manifest.stores.size(); ++i) {
    Expect(manifest.stores[i].id != 0 || (i == 0 && shard.value_or(0) != 0), "a store is there");
    Expect(absl::StartsWith(found->folders[i], directory), "a folder is in the directory");
  }
  return true;
}

// Manifests of a directory, and of parts below it.
bool Directory(Input in) {
  const std::string directory = Fresh("backups");
  std::set<uint64_t> numbers = {0};
  for (const File& file : FilesOf(in)) {
    // Of shard 0 to 2, or of all; by a number that the name begins with.
    const size_t place = file.name.empty() ? 0 : static_cast<uint8_t>(file.name[0]) % 4;
    const uint64_t number = file.name.size() < 2 ? 1 : static_cast<uint8_t>(file.name[1]) % 8;
    const std::string folder = place == 0 ? directory : PartDirectory(directory, static_cast<uint32_t>(place - 1));
    Write(ManifestPath(folder, number), file.bytes);
    numbers.insert(number);
  }
  const auto backups = ReadBackups(directory);
  Expect(backups.ok(), "a directory can be read");
  for (const BackupSet& set : backups->sets) {
    Expect(!set.parts.empty() && set.whole() == set.missing().empty(), "a set is whole, or lacks some");
    Expect(set.Joined().stores.size() == size_t{set.any().shards} + 1, "parts join to a whole");
  }
  const auto greatest = GreatestNumber(directory);
  Expect(greatest.ok(), "there is a greatest number, or 0");
  bool any = false;
  for (const uint64_t number : numbers) {
    Expect(number <= *greatest || number == 0 || !LookFor(directory, number, std::nullopt), "what is found is listed");
    any = LookFor(directory, number, std::nullopt) || any;
    for (const uint32_t shard : {0U, 1U, 5U}) any = LookFor(directory, number, shard) || any;
  }
  return any;
}

// Whatever anybody put there.
class StrangeStore final : public ObjectStore {
 public:
  explicit StrangeStore(const std::vector<File>& files = {}) {
    for (const File& file : files) {
      objects_[file.name] = file.bytes;
      lies_[file.name] = (file.flags & kLonger) != 0;
    }
  }

  absl::StatusOr<std::vector<StoredObject>> List() override {
    std::vector<StoredObject> listed;
    for (const auto& [name, bytes] : objects_) listed.push_back({name, bytes.size() + (lies_[name] ? 1 : 0)});
    return listed;
  }
  absl::Status Put(const std::string& name, std::string_view bytes) override {
    objects_[name] = std::string(bytes);
    lies_[name] = false;
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Get(const std::string& name) override {
    const auto found = objects_.find(name);
    if (found == objects_.end()) return absl::NotFoundError(name);
    return found->second;
  }
  absl::Status Remove(const std::string& name) override {
    objects_.erase(name);
    return absl::OkStatus();
  }

  const Files& objects() const { return objects_; }

 private:
  Files objects_;
  std::map<std::string, bool> lies_;
};

bool Refused(const absl::Status& status) {
  // UNAVAILABLE: a name that a file system does not take.
  ExpectRefusal(status,
                {StatusCode::kNotFound, StatusCode::kFailedPrecondition, StatusCode::kDataLoss, StatusCode::kOutOfRange,
                 StatusCode::kUnavailable},
                {"the store has", "pull into another directory", "came with", "lacks", "must have at most",
                 "could not"});
  return false;
}

// What is pulled lies in its directory under the names of backups; what is pushed from there is that again.
bool Store(Input in) {
  const auto go_on = [](const BackupProgress&) { return true; };
  const std::string outside = Fresh("outside");
  const std::string directory = outside + "/pulled";
  StrangeStore store(FilesOf(in));
  const auto pulled = PullBackups(store, directory, go_on);
  for (const auto& entry : std::filesystem::directory_iterator(outside)) {
    Expect(entry.path() == directory, "nothing is written outside of the directory");
  }
  if (!pulled.ok()) return Refused(pulled.status());
  const Files files = Contents(directory);
  for (const auto& [name, bytes] : files) {
    const auto object = store.objects().find(name);
    Expect(object != store.objects().end() && object->second == bytes, "a file is an object of the store");
  }
  Expect(ReadBackups(directory).ok(), "what was pulled can be read");
  const auto again = PullBackups(store, directory, go_on);
  Expect(again.ok() && again->manifests == pulled->manifests && Contents(directory) == files, "it can be pulled again");

  StrangeStore copy;
  const auto pushed = PushBackups(directory, copy, go_on);
  if (!pushed.ok()) return Refused(pushed.status());
  Expect(pushed->manifests == pulled->manifests && copy.objects() == files, "what is pushed is the directory");
  const auto twice = PushBackups(directory, copy, go_on);
  Expect(twice.ok() && twice->removed == 0 && copy.objects() == files, "it can be pushed again");
  // A store that has something else: it becomes the directory, or is left as it is.
  const Files before = store.objects();
  const auto over = PushBackups(directory, store, go_on);
  if (!over.ok()) {
    Expect(store.objects() == before, "a store that is refused is left as it is");
    return Refused(over.status());
  }
  for (const auto& [name, bytes] : files) Expect(store.objects().at(name) == bytes, "the store has the directory");
  return true;
}

bool Run(std::string_view input) {
  Input in(input);
  const uint8_t kind = in.Byte() % kKinds;
  // Lines of thirty bytes become 40, and vectors double.
  const AllocationBound bound(256 * 1024 + 16 * input.size());
  switch (kind) {
    case kManifest: return Manifest(in.Rest());
    case kSummed: return Manifest(Summed(in.Rest()));
    case kDirectory: return Directory(in);
    case kStore: return Store(in);
    default: return false;
  }
}

BackupManifest Whole(uint64_t number, uint32_t shards) {
  BackupManifest manifest;
  manifest.number = number;
  manifest.created_ms = 1'717'000'000'123;
  manifest.deployment = 0x1234;
  manifest.shards = shards;
  for (uint32_t i = 0; i <= shards; ++i) manifest.stores.push_back({1, 300, 200, 70'000, 0xabcdef});
  return manifest;
}

BackupManifest Part(uint64_t number, uint32_t shards, uint32_t shard) {
  BackupManifest manifest = Whole(number, shards);
  manifest.stores.resize(2);
  manifest.part = BackupPart{shard, 77, true};
  if (shard != 0) manifest.stores[0] = {};
  return manifest;
}

std::string Lines(const BackupManifest& manifest) {
  const std::string text = format::EncodeBackupManifest(manifest);
  return text.substr(0, text.rfind("checksum "));
}

std::string FileSeed(uint8_t flags, const std::string& name, const std::string& bytes) {
  const auto size = static_cast<uint16_t>(bytes.size());
  return std::string{static_cast<char>(flags), static_cast<char>(name.size())} + name +
         std::string{static_cast<char>(size & 0xff), static_cast<char>(size >> 8)} + bytes;
}

std::vector<std::string> Seeds() {
  const auto seed = [](Kind kind, const std::string& bytes) { return std::string(1, static_cast<char>(kind)) + bytes; };
  const std::string meta = "1717000000\n7\n2\nprivate/1/CURRENT crc32 1\nshared_checksum/000007_s1_99.sst crc32 2\n";
  const auto files_of = [&](const std::string& store) {
    return FileSeed(0, store + "/meta/1", meta) + FileSeed(0, store + "/private/1/CURRENT", "MANIFEST-000004\n") +
           FileSeed(0, store + "/shared_checksum/000007_s1_99.sst", "table");
  };
  return {seed(kManifest, format::EncodeBackupManifest(Whole(3, 2))),
          seed(kManifest, format::EncodeBackupManifest(Part(3, 2, 0))),
          seed(kSummed, Lines(Whole(1, 1))),
          seed(kSummed, Lines(Part(4, 3, 2))),
          seed(kDirectory, FileSeed(kSum, {0, 1}, Lines(Whole(1, 1))) + FileSeed(kSum, {0, 2}, Lines(Whole(2, 1)))),
          seed(kDirectory, FileSeed(kSum, {1, 3}, Lines(Part(3, 2, 0))) + FileSeed(kSum, {2, 3}, Lines(Part(3, 2, 1)))),
          seed(kDirectory, FileSeed(kSum, {1, 4}, Lines(Part(4, 2, 0))) + FileSeed(kSum, {0, 2}, Lines(Whole(2, 1))) +
                               FileSeed(0, {0, 5}, "damaged")),
          seed(kStore, FileSeed(kSum, "BACKUP-000001", Lines(Whole(1, 1))) + files_of("catalogue") +
                           files_of("shard-000") + FileSeed(0, "../another", "x")),
          seed(kStore, FileSeed(kSum, "part-000/BACKUP-000003", Lines(Part(3, 2, 0))) + files_of("part-000/catalogue") +
                           files_of("part-000/shard-000") +
                           FileSeed(kSum, "part-001/BACKUP-000003", Lines(Part(3, 2, 1))) +
                           files_of("part-001/shard-001"))};
}

const Registration kTarget({"backup", Run, Seeds});

}  // namespace
}  // namespace mneme::fuzz
