// The files beside the databases (format.h): the watermark, FORMAT, and the manifest of a backup.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/limits.h"
#include "storage/format.h"
#include "storage/record.h"

namespace mneme::format {
namespace {

constexpr uint64_t kWatermarkMagic = 0x314B52414D454E4DULL;   // "MNEMARK1"
constexpr uint64_t kWatermarkSeed = 0x776174657266616CULL;    // sets this checksum apart from any other
constexpr uint64_t kDirectorySeed = 0x6469726563746F72ULL;
constexpr char kDirectoryMagic[] = "mneme data directory";
constexpr uint64_t kBackupSeed = 0x6261636B75707321ULL;
constexpr uint64_t kBackupMetaSeed = 0x6261636B6D657461ULL;
constexpr char kBackupMagic[] = "mneme backup";

}  // namespace

std::string EncodeWatermarkSlot(Sequence sequence) {
  std::string out;
  ByteWriter writer(out);
  writer.Fixed(kWatermarkMagic);
  writer.Fixed(sequence);
  writer.Fixed(Checksum64(out, kWatermarkSeed));
  return out;
}

std::optional<Sequence> DecodeWatermarkSlot(std::string_view slot) {
  ByteReader reader(slot);
  const auto magic = reader.Fixed<uint64_t>();
  const auto sequence = reader.Fixed<Sequence>();
  const auto checksum = reader.Fixed<uint64_t>();
  if (!reader.AtEnd() || magic != kWatermarkMagic) return std::nullopt;
  if (checksum != Checksum64(slot.substr(0, 16), kWatermarkSeed)) return std::nullopt;
  return sequence;
}

std::string EncodeDirectoryFormat(const DirectoryFormat& format) {
  std::string text = absl::StrFormat("%s\nversion %u\ndeployment %016x\nshards %u\n", kDirectoryMagic, format.version,
                                     format.deployment, format.shards);
  if (format.hosts.has_value()) absl::StrAppend(&text, "hosts ", *format.hosts, "\n");
  absl::StrAppendFormat(&text, "checksum %016x\n", Checksum64(text, kDirectorySeed));
  return text;
}

namespace {

// Takes "<name> <word>\n" off the front of `rest`; an empty word when it is not there.
std::string_view TakeLine(std::string_view name, std::string_view& rest) {
  if (rest.substr(0, name.size()) != name || rest.size() <= name.size() || rest[name.size()] != ' ') return {};
  const size_t end = rest.find('\n');
  if (end == std::string_view::npos) return {};
  const std::string_view word = rest.substr(name.size() + 1, end - name.size() - 1);
  rest.remove_prefix(end + 1);
  return word;
}

// What lies between the first line, which is `magic`, and the line of the checksum, which holds; nullopt otherwise.
std::optional<std::string_view> CheckedLines(std::string_view text, std::string_view magic, uint64_t seed) {
  const size_t sum_at = text.rfind("checksum ");
  if (sum_at == std::string_view::npos || sum_at <= magic.size() || text.substr(0, magic.size()) != magic ||
      text[magic.size()] != '\n') {
    return std::nullopt;
  }
  std::string_view rest = text.substr(sum_at);
  uint64_t checksum = 0;
  const std::string word(TakeLine("checksum", rest));
  if (word.size() != 16 || !rest.empty() || !absl::SimpleHexAtoi(word, &checksum) ||
      checksum != Checksum64(text.substr(0, sum_at), seed)) {
    return std::nullopt;
  }
  return text.substr(magic.size() + 1, sum_at - magic.size() - 1);
}

}  // namespace

absl::StatusOr<DirectoryFormat> DecodeDirectoryFormat(std::string_view text) {
  std::optional<std::string_view> lines = CheckedLines(text, kDirectoryMagic, kDirectorySeed);
  if (!lines.has_value()) return Damaged("FORMAT file");
  std::string_view rest = *lines;
  DirectoryFormat format;
  if (!absl::SimpleAtoi(std::string(TakeLine("version", rest)), &format.version)) return Damaged("FORMAT file");
  // The checksum holds, so a version that is not known is a newer program's, not damage; its other lines are its own.
  if (format.version < kDirectoryFormat || format.version > kLoggedDirectoryFormat) {
    return absl::FailedPreconditionError(absl::StrCat("the data directory has format ", format.version,
                                                      "; this program reads formats ", kDirectoryFormat, " to ",
                                                      kLoggedDirectoryFormat));
  }
  if (!absl::SimpleHexAtoi(std::string(TakeLine("deployment", rest)), &format.deployment) ||
      !absl::SimpleAtoi(std::string(TakeLine("shards", rest)), &format.shards)) {
    return Damaged("FORMAT file");
  }
  if (format.version != kDirectoryFormat &&
      !absl::SimpleAtoi(std::string(TakeLine("hosts", rest)), &format.hosts.emplace())) {
    return Damaged("FORMAT file");
  }
  if (!rest.empty() || format.deployment == 0 || format.shards == 0 || format.shards > limits::kMaxShards ||
      format.hosts.value_or(0) >= format.shards || text != EncodeDirectoryFormat(format)) {
    return Damaged("FORMAT file");
  }
  return format;
}

namespace {

bool HasNoCatalogue(const BackupManifest& manifest) { return manifest.part.has_value() && manifest.part->shard != 0; }

// Whether its shards and stores are what its kind has.
bool IsComplete(const BackupManifest& manifest) {
  if (manifest.number == 0 || manifest.deployment == 0 || manifest.shards == 0 ||
      manifest.shards > limits::kMaxShards) {
    return false;
  }
  // What has no id would be passed over by who verifies and restores.
  for (size_t i = HasNoCatalogue(manifest) ? 1 : 0; i < manifest.stores.size(); ++i) {
    if (manifest.stores[i].id == 0) return false;
  }
  if (!manifest.part.has_value()) return manifest.stores.size() == size_t{manifest.shards} + 1;
  return manifest.part->shard < manifest.shards && manifest.part->set != 0 && manifest.stores.size() == 2;
}

}  // namespace

std::string EncodeBackupManifest(const BackupManifest& manifest) {
  std::string text = absl::StrFormat("%s\nversion %u\nnumber %u\ncreated %d\ndeployment %016x\nshards %u\n",
                                     kBackupMagic, manifest.part.has_value() ? kBackupPartFormat : kBackupFormat,
                                     manifest.number, manifest.created_ms, manifest.deployment, manifest.shards);
  if (manifest.part.has_value()) {
    absl::StrAppendFormat(&text, "shard %u\nset %016x\nlogged %u\n", manifest.part->shard, manifest.part->set,
                          manifest.part->logged ? 1U : 0U);
  }
  for (size_t i = HasNoCatalogue(manifest) ? 1 : 0; i < manifest.stores.size(); ++i) {
    const BackedUpStore& store = manifest.stores[i];
    absl::StrAppendFormat(&text, "store %u\napplied %u\nentries %u\nbytes %u\nmeta %016x\n", store.id, store.applied,
                          store.entries, store.bytes, store.meta_checksum);
  }
  absl::StrAppendFormat(&text, "checksum %016x\n", Checksum64(text, kBackupSeed));
  return text;
}

absl::StatusOr<BackupManifest> DecodeBackupManifest(std::string_view text) {
  std::optional<std::string_view> lines = CheckedLines(text, kBackupMagic, kBackupSeed);
  if (!lines.has_value()) return Damaged("manifest");
  std::string_view rest = *lines;
  bool whole = true;
  const auto decimal = [&](std::string_view name, auto& number) {
    whole = whole && absl::SimpleAtoi(std::string(TakeLine(name, rest)), &number);
  };
  const auto hexadecimal = [&](std::string_view name, uint64_t& number) {
    whole = whole && absl::SimpleHexAtoi(std::string(TakeLine(name, rest)), &number);
  };
  uint32_t version = 0;
  decimal("version", version);
  if (whole && version != kBackupFormat && version != kBackupPartFormat) {
    return absl::FailedPreconditionError(absl::StrCat("the manifest has format ", version,
                                                      "; this program reads formats ", kBackupFormat, " to ",
                                                      kBackupPartFormat));
  }
  BackupManifest manifest;
  decimal("number", manifest.number);
  decimal("created", manifest.created_ms);
  hexadecimal("deployment", manifest.deployment);
  decimal("shards", manifest.shards);
  if (version == kBackupPartFormat) {
    BackupPart& part = manifest.part.emplace();
    uint32_t logged = 0;
    decimal("shard", part.shard);
    hexadecimal("set", part.set);
    decimal("logged", logged);
    part.logged = logged == 1;  // another number is not what is written
    if (HasNoCatalogue(manifest)) manifest.stores.emplace_back();
  }
  while (whole && !rest.empty()) {
    BackedUpStore& store = manifest.stores.emplace_back();
    decimal("store", store.id);
    decimal("applied", store.applied);
    decimal("entries", store.entries);
    decimal("bytes", store.bytes);
    hexadecimal("meta", store.meta_checksum);
  }
  if (!whole || !IsComplete(manifest) || text != EncodeBackupManifest(manifest)) return Damaged("manifest");
  return manifest;
}

uint64_t BackupMetaChecksum(std::string_view bytes) { return Checksum64(bytes, kBackupMetaSeed); }

}  // namespace mneme::format
