// What the bodies of messages between processes are made of, pinned: a process of another layout must refuse, not
// misread. When a checksum here changes, raise kInternalProtocol and write down the new ones.
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"
#include "engine/flat_progress.h"

namespace mneme {
namespace {

// A codec that gives every field of what is described a value of its own, in the order of the description.
class Filler {
 public:
  template <typename... Ts>
  void operator()(Ts&... values) {
    (Fill(values), ...);
  }
  template <typename E>
  void Enum(E& value, E, E last) {
    value = last;
  }
  void Reals(std::vector<double>& column) { Fill(column); }
  template <typename... Ts>
  void Near(size_t, std::vector<Ts>&... columns) {
    (Fill(columns), ...);
  }

 private:
  void Fill(bool& value) { value = true; }
  template <FlatNumber T>
  void Fill(T& value) {
    value = static_cast<T>(++last_);
  }
  void Fill(std::string& text) { text = absl::StrCat("text ", ++last_); }
  void Fill(AlignedBuffer& buffer) { buffer.Append(absl::StrCat("bytes ", ++last_)); }
  void Fill(absl::Status& status) {
    status = WithReason(absl::AbortedError(absl::StrCat("status ", ++last_)), reason::kVersionMismatch);
  }
  template <typename T>
  void Fill(std::vector<T>& column) {
    column.resize(2);
    for (T& each : column) Fill(each);
  }
  template <typename T>
  void Fill(std::optional<T>& value) {
    Fill(value.emplace());
  }
  template <typename T>
  void Fill(std::shared_ptr<const T>& value) {
    auto made = std::make_shared<T>();
    Fill(*made);
    value = std::move(made);
  }
  template <typename K, typename V>
  void Fill(std::map<K, V>& map) {
    K key{};
    Fill(key);
    Fill(map[key]);
  }
  // The alternatives by turns.
  template <typename... Ts>
  void Fill(std::variant<Ts...>& value) {
    const size_t chosen = variants_++ % sizeof...(Ts);
    size_t index = 0;
    ((index++ == chosen ? Fill(value.template emplace<Ts>()) : void()), ...);
  }
  template <typename T>
    requires std::is_class_v<T>
  void Fill(T& described) {
    Describe(*this, described);
  }

  uint64_t last_ = 0;
  size_t variants_ = 0;
};

template <typename T>
std::string Golden() {
  T value;
  Filler filler;
  filler(value);
  const std::string bytes = Flat(value);
  T read;
  EXPECT_TRUE(Unflat(bytes, read).ok());
  EXPECT_EQ(Flat(read), bytes);
  return absl::StrCat(bytes.size(), ":", absl::Hex(Checksum64(bytes)));
}

TEST(FlatGoldenTest, ALayoutBelongsToAProtocol) {
  std::map<std::string, std::string> golden;
  golden["AliasRecord"] = Golden<AliasRecord>();
  golden["ApplyStates"] = Golden<ApplyStates>();
  golden["CatalogueChanges"] = Golden<CatalogueChanges>();
  golden["DeleteCommand"] = Golden<DeleteCommand>();
  golden["DeploymentStatistics"] = Golden<DeploymentStatistics>();
  golden["EntryColumns"] = Golden<EntryColumns>();
  golden["FinishedReadOut"] = Golden<FinishedReadOut>();
  golden["FlatProgress"] = Golden<FlatProgress>();
  golden["MatchRows"] = Golden<MatchRows>();
  golden["MemoryRecord"] = Golden<MemoryRecord>();
  golden["MemoryStatistics"] = Golden<MemoryStatistics>();
  golden["NamedSession"] = Golden<NamedSession>();
  golden["PruneCommand"] = Golden<PruneCommand>();
  golden["PruneOutcome"] = Golden<PruneOutcome>();
  golden["QueryCommand"] = Golden<QueryCommand>();
  golden["QueryOutcome"] = Golden<QueryOutcome>();
  golden["ReceiptPage"] = Golden<ReceiptPage>();
  golden["ScanCommand"] = Golden<ScanCommand>();
  golden["ScanPage"] = Golden<ScanPage>();
  golden["SlotAnswers"] = Golden<SlotAnswers>();
  golden["StateOutcome"] = Golden<StateOutcome>();
  golden["Version"] = Golden<Version>();
  golden["VisitCommand"] = Golden<VisitCommand>();
  golden["WantedEntry"] = Golden<WantedEntry>();
  golden["WriteResult"] = Golden<WriteResult>();
  // Sizes and checksums of protocol 5.
  EXPECT_EQ(kInternalProtocol, 5U);
  const std::map<std::string, std::string> expected = {
      {"AliasRecord", "15:99b4369e501302a3"},
      {"ApplyStates", "54:8dc0e20485b9fafd"},
      {"CatalogueChanges", "282:e7348ad5898ca60a"},
      {"DeleteCommand", "118:68094c1e23341290"},
      {"DeploymentStatistics", "245:1a43bbf2c13abfd2"},
      {"EntryColumns", "180:ca29c702a2575a22"},
      {"FinishedReadOut", "31:7d4d3c1cea08a6cc"},
      {"FlatProgress", "23:c7bc4e1c4408cf4a"},
      {"MatchRows", "67:164c544cf0bc28cd"},
      {"MemoryRecord", "101:b4c995aae9996c5"},
      {"MemoryStatistics", "112:39b0e29fc1d6614b"},
      {"NamedSession", "56:759541d889d437e"},
      {"PruneCommand", "97:571eb4f085b2b1cb"},
      {"PruneOutcome", "42:36637c83c3c69164"},
      {"QueryCommand", "199:28f22aade3b7b8d2"},
      {"QueryOutcome", "234:8f12a0b6af441341"},
      {"ReceiptPage", "186:38257b55be6b35f0"},
      {"ScanCommand", "169:beb4d7a556df576c"},
      {"ScanPage", "222:63b3623b7d8161c"},
      {"SlotAnswers", "216:c65d9bf724dbd493"},
      {"StateOutcome", "196:907898d2ec3684bf"},
      {"Version", "29:1777e8f18f087252"},
      {"VisitCommand", "128:33542d893c5fa596"},
      {"WantedEntry", "33:f4d2663077a6bdda"},
      {"WriteResult", "457:78216c36bfd4724f"},
  };
  EXPECT_EQ(golden, expected) << "a layout has changed: raise kInternalProtocol, and write these down";
}

// Which a front end asks for the outcome with.
TEST(FlatGoldenTest, ARequestIsItsHashAndTheChecksumOfItsContent) {
  std::string expected(24, '\0');
  expected[0] = 1;
  expected[8] = 2;
  expected[16] = 3;
  EXPECT_EQ(Flat(RequestIdentity{{1, 2}, 3}), expected);
}

}  // namespace
}  // namespace mneme
