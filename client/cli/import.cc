// `mneme import`: arrays into a memory over one InsertStream.
//   1. Open and check every file first: a bad token in the last row is told before the first row is sent.
//   2. Send batches in order; what is acknowledged is remembered every second (import_state.h).
//   3. When the connection is lost, go on after the last acknowledged batch; ids make a row sent twice one entry.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/fingerprint.h"
#include "client/cli/first_id.h"
#include "client/cli/import_source.h"
#include "client/cli/import_state.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "client/rpc_status.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

// Connections that are tried without any progress between them.
constexpr int kMaxReconnects = 5;
// How long a server may ask to wait without any progress: an index of a full ram takes minutes.
const absl::Duration kMaxPause = absl::Minutes(30);

struct ImportOptions {
  std::string memory;
  ImportFiles files;
  uint64_t partition = 0;
  std::string durability = "sync";
  std::vector<std::string> fingerprint;
  std::string first_id = "0";  // a number, or kAppend; for rows without ids
  bool resume = false;
  bool bulk = false;
};

struct Totals {
  uint64_t inserted = 0;
  uint64_t replaced = 0;
  bool reconnected = false;
};

// Where an import begins.
struct Start {
  uint64_t row = 0;
  uint64_t first_id = 0;
};

// A batch without its entries.
absl::StatusOr<v1::InsertRequest> CommonRequest(const ImportOptions& options) {
  v1::InsertRequest request;
  request.set_memory(options.memory);
  request.set_partition(options.partition);
  request.set_bulk(options.bulk);
  request.set_durability(options.durability == "written" ? v1::DURABILITY_WRITTEN : v1::DURABILITY_SYNC);
  if (!options.fingerprint.empty()) {
    ASSIGN_OR_RETURN(*request.mutable_fingerprint(), ParseFingerprint(options.fingerprint));
  }
  return request;
}

// One import under way. Not thread-safe.
class Import {
 public:
  Import(const v1::InsertRequest& common, const ImportSource& source, const ImportState& state, Session& session)
      : common_(common),
        source_(source),
        state_(state),
        session_(session),
        progress_(session.live(), "import " + common.memory(), "rows", source.rows()),
        saved_(std::chrono::steady_clock::now()) {}

  // Sends rows [start.row, rows).
  absl::Status Run(const Start& start, std::shared_ptr<std::atomic<uint64_t>> acknowledged);
  const Totals& totals() const { return totals_; }
  double seconds() const { return progress_.seconds(); }

 private:
  absl::Status RunStream(uint64_t first);
  void Acknowledge(uint64_t rows);
  v1::InsertRequest Batch(uint64_t first, uint64_t count) const;

  const v1::InsertRequest& common_;
  const ImportSource& source_;
  const ImportState& state_;
  Session& session_;
  Progress progress_;
  Totals totals_;
  uint64_t first_id_ = 0;
  std::shared_ptr<std::atomic<uint64_t>> acknowledged_;
  std::chrono::steady_clock::time_point saved_;
};

v1::InsertRequest Import::Batch(uint64_t first, uint64_t count) const {
  v1::InsertRequest request = common_;
  request.set_partition(source_.PartitionAt(first, common_.partition()));
  *request.mutable_entries() = source_.Batch(first, count, first_id_);
  return request;
}

void Import::Acknowledge(uint64_t rows) {
  *acknowledged_ = std::max<uint64_t>(*acknowledged_, rows);
  progress_.Set(*acknowledged_);
  const auto now = std::chrono::steady_clock::now();
  if (now - saved_ < std::chrono::seconds(1)) return;
  saved_ = now;
  state_.Save({*acknowledged_, first_id_});
}

absl::Status Import::RunStream(uint64_t first) {
  const uint64_t batch_rows = common_.bulk() ? source_.BulkBatchRows() : source_.BatchRows();
  const auto stream = session_.memory().OpenInsertStream();
  std::vector<uint64_t> ends = {first};  // ends[i]: where batch i of this stream, counted from 1, ends
  const auto reached = [&](const StreamProgress& progress) { return ends[progress.sequence]; };
  absl::Status status;
  while (ends.back() < source_.rows() && status.ok()) {
    const uint64_t row = ends.back();
    ends.push_back(source_.BatchEnd(row, batch_rows));
    status = stream->Write(Batch(row, ends.back() - row));
    Acknowledge(reached(stream->progress()));
  }
  if (status.ok()) status = stream->Finish().status();
  const StreamProgress progress = stream->progress();
  totals_.inserted += progress.inserted;
  totals_.replaced += progress.replaced;
  Acknowledge(reached(progress));
  return status;
}

absl::Status Import::Run(const Start& start, std::shared_ptr<std::atomic<uint64_t>> acknowledged) {
  acknowledged_ = std::move(acknowledged);
  *acknowledged_ = start.row;
  first_id_ = start.first_id;
  absl::Duration paused;  // since the last progress
  for (int attempt = 1;; ++attempt) {
    const uint64_t before = *acknowledged_;
    const absl::Status status = RunStream(before);
    if (status.ok()) return status;
    if (*acknowledged_ > before) attempt = 1, paused = absl::ZeroDuration();
    // Loaded faster than it is indexed: the server says when its ram has room again.
    if (const auto pause = RetryDelay(status); pause.has_value() && paused < kMaxPause) {
      totals_.reconnected = true;
      paused += std::max(*pause, absl::Milliseconds(100));
      absl::SleepFor(std::max(*pause, absl::Milliseconds(100)));
      --attempt;
      continue;
    }
    const bool lost = status.code() == absl::StatusCode::kUnavailable;
    if (!lost || attempt >= kMaxReconnects) {
      state_.Save({*acknowledged_, first_id_});
      return status;
    }
    totals_.reconnected = true;
    absl::SleepFor(absl::Milliseconds(100 << attempt));
  }
}

std::string Stopped(uint64_t acknowledged, uint64_t rows) {
  return absl::StrCat("stopped after ", HumanCount(acknowledged), " of ", HumanCount(rows), " rows");
}

std::string Interrupted(uint64_t acknowledged, uint64_t rows, const std::string& command) {
  return absl::StrCat(Stopped(acknowledged, rows), "; go on with: ", command,
                      command.find(" --resume") == std::string::npos ? " --resume" : "");
}

void PrintTotals(const Import& import, uint64_t rows, uint64_t first, Session& session) {
  const double rate = static_cast<double>(rows - first) / std::max(import.seconds(), 1e-9);
  if (session.json()) {
    session.PrintJson({{"rows", rows},
                       {"resumed_at", first},
                       {"inserted", import.totals().inserted},
                       {"replaced", import.totals().replaced},
                       {"seconds", import.seconds()},
                       {"rows_per_second", rate}});
    return;
  }
  session.Note(absl::StrCat("imported ", HumanCount(rows - first), " rows in ", HumanSeconds(import.seconds()), " (",
                            HumanCount(static_cast<uint64_t>(rate)), " rows/s), ",
                            HumanCount(import.totals().replaced), " of them replaced an entry"));
}

// A replaced entry may have been another text's.
void WarnOfReplaced(const ImportOptions& options, const Totals& totals, bool resumed, Session& session) {
  if (totals.replaced == 0) return;
  std::string line = absl::StrCat("warning: ", HumanCount(totals.replaced), " rows replaced an entry of the same id");
  if (resumed || totals.reconnected) absl::StrAppend(&line, " (a row that was sent twice replaces itself)");
  if (options.files.ids.empty() && options.first_id != kAppend) {
    absl::StrAppend(&line, "; --first-id append gives ids that are unused");
  }
  session.Note(line);
}

// Where to begin: --resume goes on at the ids with which it began, so that a row sent twice is one entry.
absl::StatusOr<Start> FindStart(const ImportOptions& options, const ImportState& state, uint64_t rows,
                                Session& session) {
  const auto reached = options.resume ? state.Load() : std::nullopt;
  if (reached.has_value() && options.first_id == kAppend) {
    return Start{std::min(reached->rows, rows), reached->first_id};
  }
  Start start;
  ASSIGN_OR_RETURN(start.first_id, FirstId(options.first_id, rows, options.memory, options.partition, session));
  if (reached.has_value() && reached->first_id == start.first_id) start.row = std::min(reached->rows, rows);
  // Known before the first row is stored: what is appended once more would be there twice.
  if (options.first_id == kAppend) state.Save({0, start.first_id});
  return start;
}

absl::Status RunImport(const ImportOptions& options, Session& session) {
  const ImportFiles& files = options.files;
  if (files.values.raw && (files.raw_dtype.empty() || files.raw_dimension == 0 || files.values.raw_dtype.empty())) {
    return UsageError("--raw needs --dtype, --dim and --values-dtype: a headerless file does not say them");
  }
  if (!files.values.raw && (!files.raw_dtype.empty() || files.raw_dimension != 0 || !files.values.raw_dtype.empty())) {
    return UsageError("--dtype, --dim and --values-dtype are for --raw; a .npy file says them itself");
  }
  if (!files.partitions.empty() && options.first_id == kAppend) {
    return UsageError("--first-id append is of one partition; with --partitions give --ids");
  }
  ASSIGN_OR_RETURN(const v1::InsertRequest common, CommonRequest(options));
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
  ASSIGN_OR_RETURN(const ImportSource source, ImportSource::Open(files, memory));
  const ImportState state(session.options().server, memory, options.partition, files.keys);
  ASSIGN_OR_RETURN(const Start start, FindStart(options, state, source.rows(), session));
  const uint64_t first = start.row;
  if (first > 0) session.Note(absl::StrCat("resuming at row ", HumanCount(first)));
  auto acknowledged = std::make_shared<std::atomic<uint64_t>>(first);
  const std::string command = session.options().command;
  session.interrupt().OnInterrupt([acknowledged, state, first_id = start.first_id, rows = source.rows(), command] {
    state.Save({*acknowledged, first_id});
    std::fprintf(stderr, "\n%s\n", Interrupted(*acknowledged, rows, command).c_str());
  });
  absl::Status status;
  {
    Import import(common, source, state, session);
    status = import.Run(start, acknowledged);
    if (status.ok()) PrintTotals(import, source.rows(), first, session);
    WarnOfReplaced(options, import.totals(), first > 0, session);
  }
  session.interrupt().OnInterrupt({});
  if (status.ok()) {
    state.Remove();
  } else if (absl::IsInvalidArgument(status)) {
    // Sending it again would not help. The batch that failed is the one after what is acknowledged.
    if (*acknowledged > 0) session.Note(Stopped(*acknowledged, source.rows()));
    return NameRow(status, files, *acknowledged);
  } else if (*acknowledged > 0) {
    session.Note(Interrupted(*acknowledged, source.rows(), command));
  }
  return status;
}

void AddColumnOptions(Command verb, ImportFiles& files) {
  constexpr char kGroup[] = "Columns, one item for each key";
  const auto add = [&](const char* name, std::string& path, const char* description) {
    verb.AddOption(name, path, description).Type("FILE.npy").Group(kGroup);
  };
  add("--ids", files.ids, "Below 2^62; 0 .. n-1 without");
  add("--sources", files.sources, "What each entry came from (a document)");
  add("--labels", files.labels, "A class of each entry");
  add("--positions", files.positions, "Where in its source");
  add("--weights", files.weights, "Above 0; 1 without");
  add("--scores", files.scores, "Any number; 0 without");
  add("--expiries", files.expiries_ms, "Unix milliseconds; 0: never");
  add("--partitions", files.partitions, "Of each entry; fastest where equal ones stand together");
}

}  // namespace

void AddImport(Command app, Action& action) {
  Command verb = app.AddVerb("import", "Fill a memory from arrays", kEntries,
                             "  mneme import wiki --keys keys.npy --values values.npy --sources docs.npy\n"
                             "  mneme import wiki --raw --dtype f16 --dim 1024 --keys dstore_keys.npy \\\n"
                             "      --values dstore_vals.npy --values-dtype i32\n"
                             "  mneme import wiki --keys keys.npy --values values.npy --resume\n"
                             "  mneme import wiki --keys keys.npy --values values.npy --bulk && mneme build wiki");
  auto options = std::make_shared<ImportOptions>();
  ImportFiles& files = options->files;
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--keys", files.keys, "[n x dimension] of f16, f32 or f64").Required().Type("FILE.npy");
  verb.AddOption("--values", files.values.values,
                   "Tokens of any integer dtype; vectors; bytes as u8 or as lines of text; sparse components")
      .Required().Type("FILE");
  verb.AddOption("--values-offsets", files.values.offsets, "Bytes, sparse: where each value begins, n + 1")
      .Type("FILE.npy");
  verb.AddOption("--values-indices", files.values.indices, "Sparse: which component each one is").Type("FILE.npy");
  verb.AddOption("--values-remainders", files.values.remainders, "Sparse: the sum of those not listed, else 0")
      .Type("FILE.npy");
  const Option partition = verb.AddOption("--partition", options->partition, "Partition, 0 by default").Type("P");
  verb.AddOption("--durability", options->durability, "sync (default) or written").Type("LEVEL")
      .OneOf({"sync", "written"});
  const Option first_id =
      verb.AddOption("--first-id", options->first_id, "Of the first row, 0 by default; append: after the largest")
          .Type("N|append").Check(IsFirstId, kFirstIdBound);
  AddFingerprintOption(verb, options->fingerprint, kPresentFingerprint);
  verb.AddFlag("--bulk", options->bulk,
                 "Load: large batches, indexed once nothing more comes");
  verb.AddFlag("--resume", options->resume, "Go on where the same import stopped");
  AddColumnOptions(verb, files);
  constexpr char kRaw[] = "Headerless files (memmaps)";
  verb.AddFlag("--raw", files.values.raw, "Keys and values have no NumPy header").Group(kRaw);
  verb.AddOption("--dtype", files.raw_dtype, "Of the keys: f16, bf16, f32, f64").Type("DTYPE")
      .OneOf({"f16", "bf16", "f32", "f64"}).Group(kRaw);
  verb.AddOption("--dim", files.raw_dimension, "Components of a key").Type("D").Range(1U, limits::kMaxDimension)
      .Group(kRaw);
  verb.AddOption("--values-dtype", files.values.raw_dtype, "Of the values: i16, i32, i64, u8, ..")
      .Type("DTYPE").OneOf({"f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"})
      .Group(kRaw);
  partition.Excludes("--partitions");
  first_id.Excludes("--ids");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return RunImport(*options, session); };
  });
}

}  // namespace mneme::cli
