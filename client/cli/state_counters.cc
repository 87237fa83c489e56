// `mneme state counters-add` and `counters-get`: a sparse matrix of counts.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/states.h"
#include "client/cli/table.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct CountersOptions {
  StateName state;
  WriteOptions write;
  std::string rows;  // files
  std::string columns;
  std::string counts;
  std::string out;  // a folder
};

absl::StatusOr<v1::StateOperation> AddOperation(const CountersOptions& options) {
  v1::StateOperation operation = options.state.Operation();
  v1::CountersAdd& add = *operation.mutable_counters_add();
  ASSIGN_OR_RETURN(*add.mutable_rows(), ReadU32Column(options.rows, "row"));
  ASSIGN_OR_RETURN(*add.mutable_columns(), ReadU32Column(options.columns, "column"));
  const size_t cells = add.rows().size() / sizeof(uint32_t);
  const size_t columns = add.columns().size() / sizeof(uint32_t);
  if (columns != cells) {
    return absl::InvalidArgumentError(absl::StrCat(options.columns, " has ", columns, " items, but ", options.rows,
                                                   " has ", cells));
  }
  if (cells > limits::kMaxIncrements) {
    return absl::InvalidArgumentError(absl::StrCat("--rows ", options.rows, " has ", cells,
                                                   " items; must have at most ", limits::kMaxIncrements));
  }
  if (options.counts.empty()) return operation;
  ASSIGN_OR_RETURN(const NpyFile counts, OpenColumn(options.counts, cells));
  RETURN_IF_ERROR(counts.CheckInteger());
  add.set_counts(ColumnRows<int64_t>(counts, 0, cells));
  return operation;
}

absl::Status Add(const CountersOptions& options, Session& session) {
  ASSIGN_OR_RETURN(const v1::StateOperation operation, AddOperation(options));
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  if (session.json()) {
    session.PrintJson(ResultJson(result));
  } else {
    session.Print(absl::StrCat("version ", result.version(), "\n"));
  }
  return absl::OkStatus();
}

absl::Status WriteCounters(const std::string& folder, const v1::Counters& counters) {
  RETURN_IF_ERROR(MakeFolder(folder));
  RETURN_IF_ERROR(WriteArray(folder + "/rows.npy", NpyDtype::kU32, 0, counters.rows()));
  RETURN_IF_ERROR(WriteArray(folder + "/offsets.npy", NpyDtype::kU64, 0, counters.offsets()));
  RETURN_IF_ERROR(WriteArray(folder + "/columns.npy", NpyDtype::kU32, 0, counters.columns()));
  return WriteArray(folder + "/counts.npy", NpyDtype::kI64, 0, counters.counts());
}

std::string CountersText(const v1::Counters& counters) {
  Table table({"ROW", "COLUMN", "COUNT"});
  for (size_t row = 0; row < counters.rows().size() / sizeof(uint32_t); ++row) {
    const auto last = ColumnItem<uint64_t>(counters.offsets(), row + 1);
    for (auto i = ColumnItem<uint64_t>(counters.offsets(), row); i < last; ++i) {
      table.Add({absl::StrCat(ColumnItem<uint32_t>(counters.rows(), row)),
                 absl::StrCat(ColumnItem<uint32_t>(counters.columns(), i)),
                 absl::StrCat(ColumnItem<int64_t>(counters.counts(), i))});
    }
  }
  return table.ToString();
}

absl::Status Get(const CountersOptions& options, Session& session) {
  v1::StateOperation operation = options.state.Operation();
  ASSIGN_OR_RETURN(*operation.mutable_counters_get()->mutable_rows(), ReadU32Column(options.rows, "row"));
  ASSIGN_OR_RETURN(const v1::StateResult result,
                   ApplyOne(options.state.memory, operation, options.write, session));
  const v1::Counters& counters = result.counters();
  if (!options.out.empty() && result.found()) RETURN_IF_ERROR(WriteCounters(options.out, counters));
  if (session.json()) {
    Json json = ResultJson(result);
    if (options.out.empty()) {
      json["rows"] = UnpackColumn<uint32_t>(counters.rows());
      json["offsets"] = UnpackColumn<uint64_t>(counters.offsets());
      json["columns"] = UnpackColumn<uint32_t>(counters.columns());
      json["counts"] = UnpackColumn<int64_t>(counters.counts());
    }
    session.PrintJson(json);
  } else if (!result.found()) {
    session.Note("there is no such state");
  } else if (options.out.empty()) {
    session.Print(CountersText(counters));
  }
  return absl::OkStatus();
}

}  // namespace

void AddCountersVerbs(Command state, Action& action) {
  auto options = std::make_shared<CountersOptions>();
  Command add = state.AddVerb("counters-add", "Add to cells of a matrix of counts", kMore,
                              "  mneme state counters-add words corpus pairs --rows i.npy --columns j.npy");
  AddStateName(add, options->state);
  add.AddOption("--rows", options->rows, "The row of each cell").Required().Type("FILE.npy");
  add.AddOption("--columns", options->columns, "Its column").Required().Type("FILE.npy");
  add.AddOption("--counts", options->counts, "What to add; 1 each without").Type("FILE.npy");
  AddWriteOptions(add, options->write);
  add.WhenGiven([options, &action] {
    action = [options](Session& session) { return Add(*options, session); };
  });
  Command get = state.AddVerb("counters-get", "Read rows of a matrix of counts", kMore,
                              "  mneme state counters-get words corpus pairs --out pairs/");
  AddStateName(get, options->state);
  get.AddOption("--rows", options->rows, "Only these rows; else all").Type("FILE.npy");
  get.AddOption("--out", options->out, "Where rows.npy, offsets.npy, columns.npy, counts.npy go (CSR)")
      .Type("FOLDER");
  get.WhenGiven([options, &action] {
    action = [options](Session& session) { return Get(*options, session); };
  });
}

}  // namespace mneme::cli
