#include "client/cli/export_faiss.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/faiss_writer.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "common/status_macros.h"

namespace mneme::cli {

absl::Status ExportFaiss(const FaissExport& wanted, Session& session) {
  const Selection& selection = wanted.selection;
  if (selection.HasFilter() || selection.all_partitions || selection.partitions.size() > 1) {
    return UsageError("--faiss takes all of one partition: at most one --partition, and no other choice of entries");
  }
  v1::ExportIndexRequest request;
  request.set_memory(wanted.memory);
  if (!selection.partitions.empty()) request.set_partition(selection.partitions.front());
  ASSIGN_OR_RETURN(FaissWriter writer, FaissWriter::Create(wanted.file));
  session.interrupt().OnInterrupt([path = wanted.file + ".partial"] { std::remove(path.c_str()); });
  Progress progress(session.live(), "export " + wanted.memory, "rows", 0);
  const auto add_piece = [&](const v1::ExportIndexResponse& piece) {
    RETURN_IF_ERROR(writer.Add(piece));
    progress.SetTotal(writer.shape().entries());
    progress.Set(writer.rows());
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(session.admin().ExportIndex(request, add_piece));
  RETURN_IF_ERROR(writer.Finish());
  session.interrupt().OnInterrupt({});
  const uint64_t lists = writer.shape().lists();
  if (session.json()) {
    session.PrintJson(
        {{"rows", writer.rows()}, {"lists", lists}, {"file", wanted.file}, {"seconds", progress.seconds()}});
  } else {
    session.Note(absl::StrCat("exported ", HumanCount(writer.rows()), " rows in ", HumanCount(lists), " lists to ",
                              wanted.file));
  }
  return absl::OkStatus();
}

}  // namespace mneme::cli
