// `mneme get` and `mneme scan`: entries as they are stored.
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct GetOptions {
  std::string memory;
  std::vector<uint64_t> ids;
  std::string ids_file;
  uint64_t partition = 0;
  bool with_keys = false;
  bool allow_missing = false;
  uint64_t limit = 0;  // scan: 0 is all
  Selection selection;
  std::string vocabulary;
};

// Prints entries as they come: one JSON document, or one table for each batch.
class EntryPrinter {
 public:
  EntryPrinter(Session& session, const Vocabulary& vocabulary) : session_(session), vocabulary_(vocabulary) {}

  void Print(const v1::Entries& entries, const std::string& partitions, uint64_t count) {
    if (session_.json()) return PrintJson(entries, partitions, count);
    Table table({"ID", "VALUE", "LABEL", "SOURCE", "POSITION", "WEIGHT"});
    for (size_t i = 0; i < count; ++i) {
      table.Add({absl::StrCat(ColumnItem<uint64_t>(entries.ids(), i)), ValueText(entries.values(), i, vocabulary_),
                 absl::StrCat(ColumnItem<int64_t>(entries.labels(), i)),
                 absl::StrCat(ColumnItem<uint64_t>(entries.sources(), i)),
                 absl::StrCat(ColumnItem<uint64_t>(entries.positions(), i)),
                 HumanNumber(ColumnItem<float>(entries.weights(), i, 1.0F))});
    }
    if (!table.empty()) session_.Print(table.ToString());
  }

  void Finish() {
    if (session_.json()) session_.Print(any_ ? "]}\n" : "{\"entries\":[]}\n");
  }

 private:
  void PrintJson(const v1::Entries& entries, const std::string& partitions, uint64_t count) {
    for (size_t i = 0; i < count; ++i) {
      Json entry = EntryJson(entries, i);
      if (!partitions.empty()) entry["partition"] = ColumnItem<uint64_t>(partitions, i);
      session_.Print((any_ ? "," : "{\"entries\":[") + entry.dump());
      any_ = true;
    }
  }

  Session& session_;
  const Vocabulary& vocabulary_;
  bool any_ = false;
};

absl::Status Get(const GetOptions& options, Session& session) {
  std::vector<uint64_t> ids = options.ids;
  if (!options.ids_file.empty()) {
    ASSIGN_OR_RETURN(const NpyFile file, NpyFile::Open(options.ids_file));
    RETURN_IF_ERROR(CheckColumn(file, file.rows()));
    RETURN_IF_ERROR(CheckRange(file, "id", 0));
    for (uint64_t row = 0; row < file.rows(); ++row) ids.push_back(static_cast<uint64_t>(file.IntegerAt(row)));
  }
  if (ids.empty()) return UsageError("get needs --id or --ids");
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Open(options.vocabulary));
  // With the widest keys such a batch stays below the message bound.
  constexpr size_t kBatch = 512;
  EntryPrinter printer(session, vocabulary);
  for (size_t first = 0; first < ids.size(); first += kBatch) {
    const size_t last = std::min(ids.size(), first + kBatch);
    v1::GetRequest request;
    request.set_memory(options.memory);
    request.set_partition(options.partition);
    request.set_ids(PackColumn(std::vector<uint64_t>(ids.begin() + static_cast<int64_t>(first),
                                                     ids.begin() + static_cast<int64_t>(last))));
    request.set_with_keys(options.with_keys);
    request.set_allow_missing(options.allow_missing);
    ASSIGN_OR_RETURN(const v1::GetResponse response, session.memory().Get(request));
    printer.Print(response.entries(), "", EntryCount(response.entries()));
    RETURN_IF_ERROR(session.CheckReader());
  }
  printer.Finish();
  return absl::OkStatus();
}

absl::Status Scan(const GetOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Open(options.vocabulary));
  v1::ScanRequest request;
  request.set_memory(options.memory);
  *request.mutable_partitions() = options.selection.ToPartitions();
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*request.mutable_filter(), options.selection.ToFilter());
  }
  request.set_with_keys(options.with_keys);
  uint64_t left = options.limit > 0 ? options.limit : UINT64_MAX;
  if (left <= limits::kMaxScanPage) {
    request.set_page_size(static_cast<uint32_t>(left));
  }
  EntryPrinter printer(session, vocabulary);
  const absl::Status status = session.memory().Scan(request, [&](v1::ScanResponse& page) {
    const uint64_t count = std::min<uint64_t>(left, EntryCount(page.entries()));
    printer.Print(page.entries(), page.partitions(), count);
    left -= count;
    RETURN_IF_ERROR(session.CheckReader());
    // Not an error: it only ends the scan.
    return left > 0 ? absl::OkStatus() : absl::OutOfRangeError("the limit is reached");
  });
  if (!status.ok() && left > 0) return status;
  printer.Finish();
  return absl::OkStatus();
}

void AddScan(Command app, Action& action) {
  Command verb = app.AddVerb("scan", "Read entries in stored order", kEntries,
                             "  mneme scan wiki --source 7 --limit 20\n  mneme scan wiki --all-partitions -o json");
  auto options = std::make_shared<GetOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--limit", options->limit, "At most so many entries; all without").Type("N");
  verb.AddFlag("--with-keys", options->with_keys, "Also the keys (JSON)");
  AddVocabularyFile(verb, options->vocabulary);
  AddSelectionOptions(verb, options->selection);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Scan(*options, session); };
  });
}

}  // namespace

void AddGet(Command app, Action& action) {
  Command verb = app.AddVerb("get", "Read entries by id", kEntries,
                             "  mneme get wiki --id 17 --id 18\n  mneme get wiki --ids ids.npy --with-keys -o json");
  auto options = std::make_shared<GetOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--id", options->ids, "An id (repeatable)").Commas().Type("ID");
  verb.AddOption("--ids", options->ids_file, "A file of ids").Type("FILE.npy");
  verb.AddOption("--partition", options->partition, "Partition, 0 by default").Type("P");
  verb.AddFlag("--with-keys", options->with_keys, "Also the keys (JSON)");
  verb.AddFlag("--allow-missing", options->allow_missing, "Leave out ids that are not there");
  AddVocabularyFile(verb, options->vocabulary);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Get(*options, session); };
  });
  AddScan(app, action);
}

}  // namespace mneme::cli
