// The stored bytes: golden ones, and that nothing but what an encoder writes is ever accepted. The examples are those
// of docs/formats.md.
#include "storage/format.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/error_reason.h"
#include "tests/storage/test_scale.h"

namespace mneme::format {
namespace {

std::string Bytes(const std::string& hex) { return absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}})); }
std::string Hex(const std::string& bytes) {
  std::string hex;
  for (const char byte : bytes) {
    absl::StrAppend(&hex, hex.empty() ? "" : " ", absl::BytesToHexString(std::string(1, byte)));
  }
  return hex;
}
std::string Row(const EntryView& entry) {
  std::string record;
  AppendRow(entry, record);
  return record;
}

const std::string kKey = Bytes("00 3c 00 c0");    // f16: 1, -2
const std::string kValue = Bytes("07 00 00 00");  // token 7
const EntryView kPlain{300, kKey, kValue, {.source = 5, .position = 9, .created_ms = 1'717'000'000'123}};
const EntryView kFull{UINT64_MAX, "k", "vw",
                      {.weight = 0.5F, .score = -2.5, .label = -3, .source = 5, .position = UINT64_MAX, .expiry_ms = -1,
                       .created_ms = 1'717'000'000'123}};
const RememberedRequest kRequest{{0x1122334455667788, 0x99AABBCCDDEEFF00}, 0x0102030405060708, 258, 1000, "ok"};
const RememberedRequest kRequestInParts{
    kRequest.id, 0x0102030405060708, 258, 1000, "", {{2, 0, "ok"}, {256, 255, "no"}}};
const MemoryRecord kMemory{3,
                           {.name = "wiki",
                            .dimension = 128,
                            .metric = Metric::kInnerProduct,
                            .key_dtype = Dtype::kF16,
                            .value_kind = ValueKind::kToken,
                            .vocabulary_size = 50'257,
                            .value_dimension = 0,
                            .spread = Spread::kAll,
                            .fingerprint = {"gpt2", "", "h.11", "", 50'257, "none"}},
                           1'717'000'000'123,
                           false};

const AliasRecord kAlias{9, "live", 300};
const ReplicaList kReplicas{{"a:1", "", "b:2"}, true};
const RememberedChange kMade{9, kRequest.id, absl::OkStatus(), kMemory};
const RememberedChange kRefused{9, kRequest.id, WithReason(absl::NotFoundError("gone"), "MEMORY_NOT_FOUND"), {}};

MemoryRecord ChoosingMemory() {
  MemoryRecord memory = kMemory;
  memory.spec.spread = Spread::kOne;
  memory.spec.index = {{CodecKind::kPq, 64, 4}, 4096};
  memory.spec.capacity = 300;
  return memory;
}

const SessionRecord kSession{.number = 258, .bases = {257, 3}, .states = 2, .bytes = 300, .expiry_ms = 1000};
const StateRecord kState{.kind = StateKind::kRegister, .version = 300, .expiry_ms = 1000, .payload = "draft"};

BackupManifest Backup() {
  BackupManifest manifest;
  manifest.number = 3;
  manifest.created_ms = 1'717'000'000'123;
  manifest.deployment = 0xABCDEF;
  manifest.shards = 1;
  manifest.stores = {{3, 12, 2, 12'345, 0x0123456789ABCDEF}, {4, 258, 1'000, 567'890, 0xFEDCBA9876543210}};
  return manifest;
}

// What the process of shard 1 of 2 wrote.
BackupManifest BackupOfShard() {
  BackupManifest manifest = Backup();
  manifest.shards = 2;
  manifest.part = BackupPart{1, 0xDEADBEEF, true};
  manifest.stores[0] = {};
  return manifest;
}

// One decoder: bytes that it accepts, and what it makes of any bytes when encoded again; nullopt when it refuses them.
struct Decoder {
  std::string name;
  std::vector<std::string> examples;
  std::function<std::optional<std::string>(std::string_view)> recode;
};

template <typename Decode, typename Encode>
Decoder MakeDecoder(std::string name, std::vector<std::string> examples, Decode decode, Encode encode) {
  return {std::move(name), std::move(examples), [=](std::string_view bytes) -> std::optional<std::string> {
            const auto decoded = decode(bytes);
            if (!decoded.ok()) return std::nullopt;
            return encode(*decoded);
          }};
}

std::vector<Decoder> Decoders() {
  const PartitionKey key{1, 2};
  const ParsedKey segment_key{key, 7};
  const ParsedRequestAge age{kRequest.sequence, kRequest.id};
  return {
      MakeDecoder("row", {Row(kPlain), Row(kFull), Row({})}, DecodeRow, Row),
      MakeDecoder("number", {EncodeNumber(77)}, DecodeNumber, EncodeNumber),
      MakeDecoder("run of ids", {EncodeIdRun({256, 300}), EncodeIdRun({1, 0})},
                  [=](auto b) { return DecodeIdRun({key, 1255}, b); }, EncodeIdRun),
      MakeDecoder("head", {EncodeHead({key, 300, 299, 1000})}, [=](auto b) { return DecodeHead(key, b); }, EncodeHead),
      MakeDecoder("segment", {EncodeSegment({key, 7, 2, 1000, 17'000})},
                  [=](auto b) { return DecodeSegment(segment_key, b); }, EncodeSegment),
      MakeDecoder("request", {EncodeRequest(kRequest), EncodeRequest(kRequestInParts)},
                  [=](auto b) { return DecodeRequest(kRequest.id, b); }, EncodeRequest),
      MakeDecoder("request age", {EncodeRequestAge(kRequest)}, [=](auto b) { return DecodeRequestAge(age, b); },
                  EncodeRequestAge),
      MakeDecoder("memory", {EncodeMemory(kMemory), EncodeMemory(ChoosingMemory())},
                  [](auto b) { return DecodeMemory(3, b); }, EncodeMemory),
      MakeDecoder("alias", {EncodeAlias(kAlias), EncodeAlias({9, "", 1})}, [](auto b) { return DecodeAlias(9, b); },
                  EncodeAlias),
      MakeDecoder("replicas", {EncodeReplicas(kReplicas), EncodeReplicas({})}, DecodeReplicas, EncodeReplicas),
      MakeDecoder("key of replicas", {ReplicasKey(3)}, ParseReplicasKey, ReplicasKey),
      MakeDecoder("change", {EncodeChange(kMade), EncodeChange(kRefused)}, [](auto b) { return DecodeChange(9, b); },
                  EncodeChange),
      MakeDecoder("state", {EncodeState({500, 612, 3})}, DecodeState, EncodeState),
      MakeDecoder("session", {EncodeSession(kSession), EncodeSession({.number = 1})}, DecodeSession, EncodeSession),
      MakeDecoder("state of a session", {EncodeSessionState(kState), EncodeSessionState({.kind = StateKind::kRemoved}),
                   EncodeSessionState({.kind = StateKind::kPiece, .payload = "cells"})},
                  DecodeSessionState, EncodeSessionState),
      MakeDecoder("store format", {EncodeStoreFormat(1)}, DecodeStoreFormat, EncodeStoreFormat),
      MakeDecoder("partition key", {PartitionPrefix({1, 2})}, ParsePartitionKey, PartitionPrefix),
      MakeDecoder("numbered key", {NumberedKey({1, 2}, 3)}, ParseNumberedKey,
                  [](const ParsedKey& k) { return NumberedKey(k.partition, k.number); }),
      MakeDecoder("key of a request", {RequestKey(kRequest.id)}, ParseRequestKey, RequestKey),
      MakeDecoder("request key", {RequestByAgeKey(258, kRequest.id)}, ParseRequestByAgeKey,
                  [](const ParsedRequestAge& k) { return RequestByAgeKey(k.sequence, k.id); }),
      MakeDecoder("memory key", {MemoryPrefix(3)}, ParseMemoryKey, MemoryPrefix),
      MakeDecoder("directory format",
                  {EncodeDirectoryFormat({1, 0xABCDEF, 4}), EncodeDirectoryFormat({2, 0xABCDEF, 4, 3}),
                   EncodeDirectoryFormat({3, 0xABCDEF, 4, 3})},
                  DecodeDirectoryFormat, EncodeDirectoryFormat),
      MakeDecoder("manifest of a backup", {EncodeBackupManifest(Backup()), EncodeBackupManifest(BackupOfShard())},
                  DecodeBackupManifest, EncodeBackupManifest),
  };
}

TEST(FormatTest, RecordsHaveTheirGoldenBytes) {
  EXPECT_EQ(Hex(Row(kPlain)), "01 58 ac 02 04 04 05 09 f6 c9 e6 d2 f8 63 00 3c 00 c0 07 00 00 00");
  EXPECT_EQ(Hex(Row(kFull)),
            "01 7f ff ff ff ff ff ff ff ff ff 01 01 02 00 00 00 3f 00 00 00 00 00 00 04 c0 05 05 "
            "ff ff ff ff ff ff ff ff ff 01 01 f6 c9 e6 d2 f8 63 6b 76 77");
  EXPECT_EQ(Hex(EncodeNumber(77)), "4d 00 00 00 00 00 00 00");
  EXPECT_EQ(Hex(EncodeIdRun({256, 300})), "01 80 02 ac 02");
  EXPECT_EQ(Hex(EncodeHead({{}, 300, 299, 1000})), "01 ac 02 ab 02 e8 07");
  EXPECT_EQ(Hex(EncodeHead({{}, 300, 299, 1000, 129})), "01 ac 02 ab 02 e8 07 81 01");
  EXPECT_EQ(Hex(EncodeSegment({{}, 7, 2, 1000, 17'000})), "01 02 e8 07 e8 84 01");
  EXPECT_EQ(Hex(EncodeRequest(kRequest)), "01 08 07 06 05 04 03 02 01 82 02 d0 0f 02 6f 6b");
  EXPECT_EQ(Hex(EncodeRequest(kRequestInParts)),
            "02 08 07 06 05 04 03 02 01 82 02 d0 0f 02 02 00 02 6f 6b 80 02 ff 01 02 6e 6f 00");
  EXPECT_EQ(Hex(EncodeRequestAge(kRequest)), "01 08 07 06 05 04 03 02 01 d0 0f");
  EXPECT_EQ(Hex(EncodeMemory(kMemory)),
            "01 00 f6 c9 e6 d2 f8 63 04 77 69 6b 69 80 01 02 02 01 01 d1 88 03 00 04 67 70 74 32 00 04 68 2e 31 31 00 "
            "d1 88 03 04 6e 6f 6e 65");
  EXPECT_EQ(Hex(EncodeMemory(ChoosingMemory())),
            "02 00 f6 c9 e6 d2 f8 63 04 77 69 6b 69 80 01 02 02 01 02 d1 88 03 00 04 67 70 74 32 00 04 68 2e 31 31 00 "
            "d1 88 03 04 6e 6f 6e 65 04 40 04 80 20 ac 02");
  EXPECT_EQ(Hex(EncodeAlias(kAlias)), "03 04 6c 69 76 65 ac 02");
  EXPECT_EQ(Hex(EncodeReplicas(kReplicas)), "01 03 03 61 3a 31 00 03 62 3a 32 01");
  EXPECT_EQ(Hex(ReplicasKey(258)), "72 00 00 01 02");
  EXPECT_EQ(Hex(EncodeChange(kMade)),
            "01 88 77 66 55 44 33 22 11 00 ff ee dd cc bb aa 99 00 01 03 2b " + Hex(EncodeMemory(kMemory)));
  EXPECT_EQ(Hex(EncodeChange(kRefused)),
            "01 88 77 66 55 44 33 22 11 00 ff ee dd cc bb aa 99 05 04 67 6f 6e 65 "
            "10 4d 45 4d 4f 52 59 5f 4e 4f 54 5f 46 4f 55 4e 44 00");
  EXPECT_EQ(Hex(EncodeState({500, 612, 3})), "01 f4 03 e4 04 03");
  EXPECT_EQ(Hex(EncodeStoreFormat(1)), "01 00 00 00");
  EXPECT_EQ(Hex(EncodeSession(kSession)), "01 82 02 02 81 02 03 02 ac 02 d0 0f");
  EXPECT_EQ(Hex(EncodeSessionState(kState)), "01 01 ac 02 d0 0f 05 64 72 61 66 74");
  EXPECT_EQ(Hex(EncodeSessionState({.kind = StateKind::kRemoved})), "01 00 00 00 00");
  EXPECT_EQ(Hex(SessionKeyOf({3, "chat42"})), "00 00 00 03 73 63 68 61 74 34 32");
  EXPECT_EQ(Hex(StateKeyOf({{3, 258}, "mode"})), "00 00 00 03 76 00 00 00 00 00 00 01 02 6d 6f 64 65");
  EXPECT_EQ(Hex(ReferenceKeyOf({3, 258})), "00 00 00 03 72 00 00 00 00 00 00 01 02");
  EXPECT_EQ(Hex(StateKeyOf({{3, 258}, "c", 7})), "00 00 00 03 63 00 00 00 00 00 00 01 02 00 00 00 07 63");
  EXPECT_EQ(Hex(ExpiryKeyOf({1000, 3, 258, "s", "a"})),
            "00 00 00 00 65 00 00 00 00 00 00 03 e8 00 00 00 03 00 00 00 00 00 00 01 02 01 73 61");
}

TEST(FormatTest, KeysHaveTheirGoldenBytes) {
  EXPECT_EQ(Hex(MemoryPrefix(3)), "00 00 00 03");
  EXPECT_EQ(Hex(NumberedKey({3, 258}, 7)), "00 00 00 03 00 00 00 00 00 00 01 02 00 00 00 00 00 00 00 07");
  EXPECT_EQ(Hex(RequestKey(kRequest.id)), "68 99 aa bb cc dd ee ff 00 11 22 33 44 55 66 77 88");
  EXPECT_EQ(Hex(RequestByAgeKey(258, kRequest.id)),
            "73 00 00 00 00 00 00 01 02 99 aa bb cc dd ee ff 00 11 22 33 44 55 66 77 88");
}

TEST(FormatTest, FilesHaveTheirGoldenBytes) {
  EXPECT_EQ(Hex(EncodeWatermarkSlot(258)), "4d 4e 45 4d 41 52 4b 31 02 01 00 00 00 00 00 00 c6 2f 60 e4 f6 d4 40 ca");
  EXPECT_EQ(EncodeDirectoryFormat({1, 0xABCDEF, 4}),
            "mneme data directory\nversion 1\ndeployment 0000000000abcdef\nshards 4\nchecksum aca87b6f93aece1c\n");
}

TEST(FormatTest, AManifestOfABackupHasItsGoldenBytes) {
  EXPECT_EQ(EncodeBackupManifest(Backup()),
            "mneme backup\nversion 1\nnumber 3\ncreated 1717000000123\ndeployment 0000000000abcdef\nshards 1\n"
            "store 3\napplied 12\nentries 2\nbytes 12345\nmeta 0123456789abcdef\n"
            "store 4\napplied 258\nentries 1000\nbytes 567890\nmeta fedcba9876543210\n"
            "checksum 0e096cabb9b1c4e8\n");
  EXPECT_EQ(EncodeBackupManifest(BackupOfShard()),
            "mneme backup\nversion 2\nnumber 3\ncreated 1717000000123\ndeployment 0000000000abcdef\nshards 2\n"
            "shard 1\nset 00000000deadbeef\nlogged 1\n"
            "store 4\napplied 258\nentries 1000\nbytes 567890\nmeta fedcba9876543210\n"
            "checksum 2f4b22ad02124f24\n");
  EXPECT_EQ(DecodeBackupManifest(EncodeBackupManifest(BackupOfShard())).value(), BackupOfShard());
  // A store without an id would be passed over.
  for (BackupManifest manifest : {Backup(), BackupOfShard()}) {
    manifest.stores[1].id = 0;
    EXPECT_EQ(DecodeBackupManifest(EncodeBackupManifest(manifest)).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(FormatTest, EveryExampleComesBackWhole) {
  for (const Decoder& decoder : Decoders()) {
    for (const std::string& example : decoder.examples) EXPECT_EQ(decoder.recode(example), example) << decoder.name;
  }
  const std::string record = Row(kFull);
  const EntryView full = DecodeRow(record).value();
  EXPECT_EQ(full.id, kFull.id);
  EXPECT_EQ(full.key, kFull.key);
  EXPECT_EQ(full.value, kFull.value);
  EXPECT_EQ(full.attributes, kFull.attributes);
  EXPECT_EQ(DecodeMemory(3, EncodeMemory(kMemory)).value(), kMemory);
  EXPECT_EQ(DecodeMemory(3, EncodeMemory(ChoosingMemory())).value(), ChoosingMemory());
  for (const CodecChoice& codec : {CodecChoice{CodecKind::kPca, 2, 0}, CodecChoice{CodecKind::kOpq, 2, 4}}) {
    MemoryRecord learnt = ChoosingMemory();
    learnt.spec.index.codec = codec;
    EXPECT_EQ(DecodeMemory(3, EncodeMemory(learnt)).value(), learnt);
  }
}

TEST(FormatTest, AMemoryThatChoosesNothingIsNoNewRecordAndAnUnknownCodecIsDamage) {
  std::string record = EncodeMemory(ChoosingMemory());
  const size_t codec = record.size() - 7;
  ASSERT_EQ(record[codec], static_cast<char>(CodecKind::kPq));
  record[codec] = 8;
  EXPECT_EQ(DecodeMemory(3, record).status().code(), absl::StatusCode::kDataLoss);
  // Version 2 with nothing chosen: no encoder writes it.
  std::string nothing = EncodeMemory(kMemory);
  nothing[0] = 2;
  nothing.append(5, '\0');
  EXPECT_EQ(DecodeMemory(3, nothing).status().code(), absl::StatusCode::kDataLoss);
}

TEST(FormatTest, AnAliasIsNoMemoryAndPointsToOne) {
  EXPECT_EQ(DecodeAlias(9, EncodeAlias(kAlias)).value(), kAlias);
  for (const RememberedChange& change : {kMade, kRefused}) {
    EXPECT_EQ(DecodeChange(9, EncodeChange(change)).value(), change);
  }
  EXPECT_TRUE(IsAlias(EncodeAlias(kAlias)));
  for (const std::string& memory : {EncodeMemory(kMemory), EncodeMemory(ChoosingMemory()), std::string()}) {
    EXPECT_FALSE(IsAlias(memory));
    EXPECT_EQ(DecodeAlias(9, memory).status().code(), absl::StatusCode::kDataLoss);
  }
  // What a program that knows no aliases makes of one: it refuses, and says why.
  const absl::Status older = DecodeMemory(9, EncodeAlias(kAlias)).status();
  EXPECT_EQ(older.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(older.message().find("has version 3; this program knows 1"), absl::string_view::npos) << older;
  EXPECT_EQ(DecodeAlias(9, EncodeAlias({9, "live", 0})).status().code(), absl::StatusCode::kDataLoss);
}

TEST(FormatTest, KeysOfWorkingMemoryAreReadBackAndKeptApart) {
  const SessionKey session{3, "chat42"};
  const StateKey state{{3, 258}, "mode"};
  EXPECT_EQ(ParseSessionKey(SessionKeyOf(session)).value(), session);
  EXPECT_EQ(ParseStateKey(StateKeyOf(state)).value(), state);
  EXPECT_EQ(ParseMemoryPrefix(ReferenceKeyOf({3, 258})).value(), 3U);
  const StateExpiry of_state{1000, 3, 258, "chat42", "mode"};
  for (const StateExpiry& expiry : {of_state, StateExpiry{1000, 3, 0, "chat42", ""}}) {
    const std::string key = ExpiryKeyOf(expiry);
    EXPECT_EQ(ParseExpiryKey(key).value(), expiry);
    // The name alone may be shorter, but not be absent where a state expires.
    for (size_t i = 0; i + expiry.name.size() < key.size() + (expiry.space != 0 ? 1 : 0); ++i) {
      EXPECT_FALSE(ParseExpiryKey(key.substr(0, i)).ok()) << i;
    }
  }
  EXPECT_FALSE(ParseExpiryKey(SessionKeyOf(session)).ok());
  EXPECT_FALSE(ParseSessionKey(StateKeyOf(state)).ok());
  EXPECT_FALSE(ParseStateKey(SessionKeyOf(session)).ok());
  const StateKey piece{{3, 258}, "mode", 7};
  EXPECT_EQ(ParsePieceKey(StateKeyOf(piece)).value(), piece);
  EXPECT_FALSE(ParsePieceKey(StateKeyOf(state)).ok());
  EXPECT_FALSE(ParsePieceKey(StateKeyOf({{3, 258}, "", 7}).substr(0, 16)).ok());
  EXPECT_FALSE(ParseStateKey(StateKeyOf(piece)).ok());
  EXPECT_FALSE(ParseStateKey(StateKeyOf({{3, 258}, ""}).substr(0, 12)).ok());
}

TEST(FormatTest, AnAttributeWithItsDefaultCostsNothing) {
  EXPECT_EQ(Row({300, kKey, kValue, {}}).size() + 8, Row(kPlain).size());
  // A zero with a sign is not the default, bit for bit.
  EXPECT_EQ(Row({300, kKey, kValue, {.score = -0.0}}).size(), Row({300, kKey, kValue, {}}).size() + 8);
}

TEST(FormatTest, ADecodedRowBorrowsItsBytes) {
  const std::string record = Row(kPlain);
  const EntryView entry = DecodeRow(record).value();
  EXPECT_EQ(entry.key.data(), record.data() + record.size() - 8);
  EXPECT_EQ(entry.value.data(), record.data() + record.size() - 4);
}

TEST(FormatTest, EveryTruncationAndEveryTrailingByteIsRefused) {
  for (const Decoder& decoder : Decoders()) {
    for (const std::string& example : decoder.examples) {
      for (size_t size = 0; size < example.size(); ++size) {
        EXPECT_EQ(decoder.recode(example.substr(0, size)), std::nullopt) << decoder.name << " cut to " << size;
      }
      EXPECT_EQ(decoder.recode(example + '\0'), std::nullopt) << decoder.name;
    }
  }
}

// Whatever is accepted is what its encoder would write: no two byte strings mean the same.
TEST(FormatTest, RandomMutationsAreRefusedOrMeanSomethingElse) {
  std::mt19937_64 random(TestSeed());
  const uint64_t rounds = Repetitions(100'000, 2'000'000);
  for (const Decoder& decoder : Decoders()) {
    uint64_t accepted = 0;
    for (uint64_t i = 0; i < rounds / 14; ++i) {
      const std::string& example = decoder.examples[random() % decoder.examples.size()];
      std::string bytes = example;
      for (uint64_t changes = 1 + random() % 3; changes > 0 && !bytes.empty(); --changes) {
        const size_t at = random() % bytes.size();
        switch (random() % 4) {
          case 0: bytes[at] = static_cast<char>(random()); break;
          case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8))); break;
          case 2: bytes.erase(at, 1 + random() % 3); break;
          default: bytes.insert(at, 1, static_cast<char>(random())); break;
        }
      }
      const std::optional<std::string> again = decoder.recode(bytes);
      if (!again.has_value()) continue;
      ++accepted;
      ASSERT_EQ(Hex(*again), Hex(bytes)) << decoder.name;
    }
    if (decoder.name == "directory format") {
      EXPECT_LT(accepted, rounds / 1000) << "a checksum guards it";
    }
  }
}

TEST(FormatTest, OverlongNumbersAndUnknownVersionsAndFlagsAreRefused) {
  EXPECT_TRUE(DecodeHead({}, Bytes("01 05 05 00")).ok());
  EXPECT_FALSE(DecodeHead({}, Bytes("01 85 00 05 00")).ok());                          // 5 in two bytes
  EXPECT_FALSE(DecodeHead({}, Bytes("01 ff ff ff ff ff ff ff ff ff 02 00 00")).ok());  // 2^65 - 1
  EXPECT_FALSE(DecodeHead({}, Bytes("01 05 06 00")).ok());                             // more alive than given
  EXPECT_EQ(DecodeHead({}, Bytes("01 05 05 00 81 01"))->least_expiry_ms, 129);
  EXPECT_FALSE(DecodeHead({}, Bytes("01 05 05 00 00")).ok());  // no expiry, said with a byte
  EXPECT_FALSE(DecodeHead({}, Bytes("02 05 05 00")).ok());
  EXPECT_FALSE(DecodeSegment({}, Bytes("01 00 05 04")).ok());                       // ends before it begins
  EXPECT_TRUE(DecodeRow(Bytes("01 00 05 00 00")).ok());
  EXPECT_FALSE(DecodeRow(Bytes("01 80 05 00 00")).ok());                            // flag 7
  EXPECT_FALSE(DecodeRow(Bytes("01 08 05 00 00 00")).ok());                         // a source of 0 is not written
  EXPECT_FALSE(DecodeRow(Bytes("01 00 05 ff ff ff ff ff ff ff ff ff 01 01")).ok());  // lengths that wrap around
}

TEST(FormatTest, KeysOrderAsTheirNumbers) {
  std::mt19937_64 random(TestSeed());
  for (int i = 0; i < 1000; ++i) {
    const auto draw = [&] { return random() >> (random() % 64); };
    const PartitionKey a{static_cast<MemoryNumber>(draw()), draw()};
    const PartitionKey b{random() % 2 == 0 ? a.memory : static_cast<MemoryNumber>(draw()), draw()};
    const uint64_t m = draw();
    const uint64_t n = draw();
    EXPECT_EQ(NumberedKey(a, m) < NumberedKey(b, n), std::tie(a, m) < std::tie(b, n));
  }
}

TEST(FormatTest, APrefixEndsBehindItsLastKeyAndBeforeTheNext) {
  EXPECT_EQ(Hex(PrefixEnd(Bytes("01 02"))), "01 03");
  EXPECT_EQ(Hex(PrefixEnd(Bytes("01 ff ff"))), "02");
  EXPECT_GT(PrefixEnd(PartitionPrefix({UINT32_MAX, UINT64_MAX})), NumberedKey({UINT32_MAX, UINT64_MAX}, UINT64_MAX));
  EXPECT_EQ(PrefixEnd(PartitionPrefix({4, UINT64_MAX})), MemoryPrefix(5));
}

TEST(FormatTest, EveryFlippedBitOfAWatermarkSlotIsSeen) {
  const std::string slot = EncodeWatermarkSlot(123'456);
  EXPECT_EQ(DecodeWatermarkSlot(slot), 123'456U);
  for (size_t bit = 0; bit < 8 * slot.size(); ++bit) {
    std::string damaged = slot;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(DecodeWatermarkSlot(damaged), std::nullopt) << bit;
  }
  for (size_t size = 0; size < slot.size(); ++size) EXPECT_EQ(DecodeWatermarkSlot(slot.substr(0, size)), std::nullopt);
}

}  // namespace
}  // namespace mneme::format
