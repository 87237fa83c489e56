// `mneme receipt`: what has become of the bytes of what was deleted.
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/receipt_name.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// In the order of v1::ErasureState, from HIDDEN on.
const std::vector<std::string>& StateNames() {
  static const std::vector<std::string> names = {"hidden", "index", "rocksdb", "snapshots"};
  return names;
}

std::string NameOf(v1::ErasureState state) {
  const size_t at = static_cast<size_t>(state) - v1::ERASURE_STATE_HIDDEN;
  return at < StateNames().size() ? StateNames()[at] : absl::StrCat("state ", static_cast<int>(state));
}

std::string Moment(int64_t ms) {
  if (ms == 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(ms), absl::UTCTimeZone());
}

Json ReceiptJson(const v1::Receipt& receipt, const std::string& name) {
  Json backups = Json::array();
  for (const v1::HoldingBackup& backup : receipt.backups()) {
    backups.push_back({{"number", backup.number()}, {"created_ms", backup.created_ms()}});
  }
  return {{"receipt", name},
          {"state", NameOf(receipt.state())},
          {"deleted", receipt.deleted()},
          {"deleted_at_ms", receipt.deleted_at_ms()},
          {"index_at_ms", receipt.index_at_ms()},
          {"rocksdb_at_ms", receipt.rocksdb_at_ms()},
          {"backups_known", receipt.backups_known()},
          {"backups", backups}};
}

struct ShowOptions {
  std::string receipt;
  std::string wait;  // empty: not at all
  double within_seconds = 0;
};

// OK when it has come so far, or may still.
absl::Status CheckMayReach(const v1::Receipt& receipt, v1::ErasureState wanted) {
  if (wanted != v1::ERASURE_STATE_SNAPSHOTS || receipt.backups_known()) return absl::OkStatus();
  return absl::FailedPreconditionError("the server has no directory of backups to look into, so it cannot say that "
                                       "none has what was deleted; start it with --backup-dir, or wait for rocksdb");
}

absl::StatusOr<v1::Receipt> Await(const ShowOptions& options, const v1::GetReceiptRequest& request, Session& session) {
  constexpr absl::Duration kPause = absl::Milliseconds(250);
  v1::ErasureState wanted = v1::ERASURE_STATE_HIDDEN;
  for (size_t i = 0; i < StateNames().size(); ++i) {
    if (StateNames()[i] == options.wait) wanted = static_cast<v1::ErasureState>(v1::ERASURE_STATE_HIDDEN + i);
  }
  const std::chrono::duration<double> within(options.within_seconds);  // 0: for ever
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    ASSIGN_OR_RETURN(const v1::GetReceiptResponse response, session.memory().GetReceipt(request));
    const v1::Receipt& receipt = response.receipt();
    if (receipt.state() >= wanted) return receipt;
    RETURN_IF_ERROR(CheckMayReach(receipt, wanted));
    if (options.within_seconds > 0 && std::chrono::steady_clock::now() - start >= within) {
      return absl::DeadlineExceededError(absl::StrCat("the deletion is in state ", NameOf(receipt.state()), " after ",
                                                      options.within_seconds, " seconds, not yet in ", options.wait));
    }
    absl::SleepFor(kPause);
  }
}

absl::Status Show(const ShowOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::GetReceiptRequest request, ParseReceiptName(options.receipt));
  ASSIGN_OR_RETURN(const v1::Receipt receipt, Await(options, request, session));
  if (session.json()) {
    session.PrintJson(ReceiptJson(receipt, options.receipt));
    return absl::OkStatus();
  }
  std::vector<std::string> backups;
  for (const v1::HoldingBackup& backup : receipt.backups()) {
    backups.push_back(absl::StrCat(backup.number(), backup.created_ms() == 0
                                                        ? " (damaged)"
                                                        : absl::StrCat(" of ", Moment(backup.created_ms()))));
  }
  Table table({"", ""});
  table.Add({"state", NameOf(receipt.state())});
  table.Add({"deleted", absl::StrCat(HumanCount(receipt.deleted()), " entries")});
  table.Add({"deleted at (UTC)", Moment(receipt.deleted_at_ms())});
  if (receipt.index_at_ms() != 0) table.Add({"out of every index at", Moment(receipt.index_at_ms())});
  if (receipt.rocksdb_at_ms() != 0) table.Add({"out of RocksDB at", Moment(receipt.rocksdb_at_ms())});
  table.Add({"backups that may have it", !receipt.backups_known() ? "not known"
                                         : backups.empty()        ? "none"
                                                                  : absl::StrJoin(backups, ", ")});
  session.Print(table.ToString());
  return absl::OkStatus();
}

absl::Status List(const std::string& memory, Session& session) {
  v1::ListReceiptsRequest request;
  request.set_memory(memory);
  Json all = Json::array();
  Table table({"DELETED AT (UTC)", "ENTRIES", "STATE", "RECEIPT"});
  do {
    ASSIGN_OR_RETURN(const v1::ListReceiptsResponse page, session.memory().ListReceipts(request));
    for (const v1::Receipt& receipt : page.receipts()) {
      v1::PartitionSelection partitions;
      for (const uint64_t partition : receipt.partitions()) partitions.add_partitions(partition);
      partitions.set_all(receipt.partitions().empty());
      const std::string name = ReceiptName(memory, partitions, receipt.id());
      if (session.json()) {
        all.push_back(ReceiptJson(receipt, name));
      } else {
        table.Add({Moment(receipt.deleted_at_ms()), HumanCount(receipt.deleted()), NameOf(receipt.state()), name});
      }
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  if (session.json()) {
    session.PrintJson({{"receipts", all}});
  } else if (table.empty()) {
    session.Note(absl::StrCat("nothing was deleted from \"", memory, "\" yet"));
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

}  // namespace

std::string ReceiptName(const std::string& memory, const v1::PartitionSelection& partitions, const std::string& id) {
  const std::string named = partitions.all()                    ? "all"
                            : partitions.partitions().empty() ? "0"
                                                                : absl::StrJoin(partitions.partitions(), ",");
  return absl::StrCat(memory, ":", named, ":", id);
}

absl::StatusOr<v1::GetReceiptRequest> ParseReceiptName(const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, ':');
  const auto wrong = [&] {
    return UsageError(absl::StrCat("receipt is \"", name, "\"; must be MEMORY:PARTITIONS:ID, as `mneme delete` tells"));
  };
  if (parts.size() != 3 || parts[0].empty() || parts[2].empty()) return wrong();
  v1::GetReceiptRequest request;
  request.set_memory(parts[0]);
  request.set_receipt(parts[2]);
  if (parts[1] == "all") {
    request.mutable_partitions()->set_all(true);
    return request;
  }
  const std::vector<std::string> partitions = absl::StrSplit(parts[1], ',');
  for (const std::string& text : partitions) {
    uint64_t partition = 0;
    if (!absl::SimpleAtoi(text, &partition)) return wrong();
    request.mutable_partitions()->add_partitions(partition);
  }
  return request;
}

void AddReceipt(Command app, Action& action) {
  Command group = app.AddVerbGroup("receipt", "What has become of the bytes of what was deleted: show, list", kEntries,
                                   "  mneme receipt show wiki:0:AwAB...\n  mneme receipt list wiki");
  auto options = std::make_shared<ShowOptions>();
  Command show = group.AddVerb("show", "Show how far a deletion is", kMore,
                               "  mneme receipt show wiki:0:AwAB...\n"
                               "  mneme receipt show wiki:0:AwAB... --wait rocksdb --within 3600");
  show.AddOption("receipt", options->receipt, "The receipt, as mneme delete tells it").Required().Type("");
  show.AddOption("--wait", options->wait, "Return once it is in this state").OneOf(StateNames()).Type("STATE");
  show.AddOption("--within", options->within_seconds, "Give up waiting after so long; 0: never")
      .NonNegative()
      .Type("SECONDS")
      .Needs("--wait");
  show.WhenGiven([options, &action] {
    action = [options](Session& session) { return Show(*options, session); };
  });
  auto memory = std::make_shared<std::string>();
  Command list = group.AddVerb("list", "List the receipts of a memory", kMore, "  mneme receipt list wiki -o json");
  list.AddOption("memory", *memory, "The memory's name").Required().Type("");
  list.WhenGiven([memory, &action] { action = [memory](Session& session) { return List(*memory, session); }; });
}

}  // namespace mneme::cli
