// `mneme export`: a memory as arrays, which import takes back, or its index as a file of FAISS.
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/bytes_file.h"
#include "client/cli/columns.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/export_faiss.h"
#include "client/cli/progress.h"
#include "client/cli/selection.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct ExportOptions {
  std::string memory;
  std::string folder;
  std::string faiss;
  Selection selection;
};

// The files of one export, filled page by page. Not thread-safe.
class ExportWriter {
 public:
  static absl::StatusOr<ExportWriter> New(const std::string& folder, const v1::MemoryDescription& memory);

  absl::Status Add(const v1::ScanResponse& page);
  absl::Status Finish();
  uint64_t rows() const { return rows_; }

 private:
  ExportWriter() = default;
  absl::Status Open(const std::string& name, NpyDtype dtype, uint64_t columns = 0);
  absl::Status AddValues(const v1::Values& values, size_t count);
  // Where the values of this page end, `items` bytes or components in all, counted over all pages.
  absl::Status AddEnds(const std::string& offsets, uint64_t items);
  // Appends `column`, or `count` times `otherwise` where it is empty.
  template <typename T>
  absl::Status AddColumn(const std::string& column, size_t count, T otherwise = T());

  std::string folder_;
  v1::ValueKind kind_ = v1::VALUE_KIND_TOKEN;
  std::vector<NpyWriter> files_;
  size_t next_ = 0;          // the file that takes the next column of this page
  uint64_t rows_ = 0;
  uint64_t value_items_ = 0;  // bytes of BYTES values, components of sparse ones, so far
};

absl::Status ExportWriter::Open(const std::string& name, NpyDtype dtype, uint64_t columns) {
  ASSIGN_OR_RETURN(NpyWriter file, NpyWriter::Create(absl::StrCat(folder_, "/", name, ".npy"), dtype, columns));
  files_.push_back(std::move(file));
  return absl::OkStatus();
}

absl::StatusOr<ExportWriter> ExportWriter::New(const std::string& folder, const v1::MemoryDescription& memory) {
  ExportWriter writer;
  writer.folder_ = folder;
  writer.kind_ = memory.value_kind();
  // The order is that of Add.
  const NpyDtype keys = memory.key_dtype() == v1::DTYPE_F16 ? NpyDtype::kF16 : NpyDtype::kF32;
  RETURN_IF_ERROR(writer.Open("keys", keys, memory.dimension()));
  RETURN_IF_ERROR(writer.Open("ids", NpyDtype::kU64));
  RETURN_IF_ERROR(writer.Open("weights", NpyDtype::kF32));
  RETURN_IF_ERROR(writer.Open("scores", NpyDtype::kF64));
  RETURN_IF_ERROR(writer.Open("labels", NpyDtype::kI64));
  RETURN_IF_ERROR(writer.Open("sources", NpyDtype::kU64));
  RETURN_IF_ERROR(writer.Open("positions", NpyDtype::kU64));
  RETURN_IF_ERROR(writer.Open("expiries", NpyDtype::kI64));
  RETURN_IF_ERROR(writer.Open("created_ms", NpyDtype::kI64));
  RETURN_IF_ERROR(writer.Open("partitions", NpyDtype::kU64));
  switch (writer.kind_) {
    case v1::VALUE_KIND_SPARSE_VECTOR:
      RETURN_IF_ERROR(writer.Open("values", NpyDtype::kF16));
      RETURN_IF_ERROR(writer.Open("values_offsets", NpyDtype::kU64));
      RETURN_IF_ERROR(writer.files_.back().AppendItems(std::vector<uint64_t>{0}));
      RETURN_IF_ERROR(writer.Open("values_indices", NpyDtype::kU32));
      RETURN_IF_ERROR(writer.Open("values_remainders", NpyDtype::kF32));
      break;
    case v1::VALUE_KIND_VECTOR: RETURN_IF_ERROR(writer.Open("values", NpyDtype::kF32, memory.value_dimension())); break;
    case v1::VALUE_KIND_BYTES:
      RETURN_IF_ERROR(writer.Open("values", NpyDtype::kU8));
      RETURN_IF_ERROR(writer.Open("values_offsets", NpyDtype::kU64));
      RETURN_IF_ERROR(writer.files_.back().AppendItems(std::vector<uint64_t>{0}));
      break;
    default: RETURN_IF_ERROR(writer.Open("values", NpyDtype::kU32));
  }
  return writer;
}

template <typename T>
absl::Status ExportWriter::AddColumn(const std::string& column, size_t count, T otherwise) {
  NpyWriter& file = files_[next_++];
  if (column.size() == count * sizeof(T)) return file.Append(column);
  if (column.empty()) return file.AppendItems(std::vector<T>(count, otherwise));
  return absl::InternalError(
      absl::StrCat("a column of the page has ", column.size() / sizeof(T), " items; the page has ", count));
}

absl::Status ExportWriter::AddValues(const v1::Values& values, size_t count) {
  NpyWriter& file = files_[next_++];
  if (kind_ == v1::VALUE_KIND_TOKEN) return file.Append(values.tokens());
  if (kind_ == v1::VALUE_KIND_VECTOR) {
    for (size_t i = 0; i < count; ++i) RETURN_IF_ERROR(file.AppendItems(VectorAt(values.vectors(), i)));
    return absl::OkStatus();
  }
  if (kind_ == v1::VALUE_KIND_SPARSE_VECTOR) {
    const v1::SparseVectors& sparse = values.sparse();
    if (sparse.dtype() != v1::DTYPE_F16) return absl::InternalError("sparse values came in another dtype than f16");
    RETURN_IF_ERROR(file.Append(sparse.components()));
    RETURN_IF_ERROR(AddEnds(sparse.offsets(), sparse.indices().size() / sizeof(uint32_t)));
    RETURN_IF_ERROR(files_[next_++].Append(sparse.indices()));
    return AddColumn<float>(sparse.remainders(), count);
  }
  RETURN_IF_ERROR(file.Append(values.blobs().data()));
  return AddEnds(values.blobs().offsets(), values.blobs().data().size());
}

absl::Status ExportWriter::AddEnds(const std::string& offsets, uint64_t items) {
  std::vector<uint64_t> ends = UnpackColumn<uint64_t>(offsets);
  if (!ends.empty()) ends.erase(ends.begin());
  for (uint64_t& end : ends) end += value_items_;
  value_items_ += items;
  return files_[next_++].AppendItems(ends);
}

absl::Status ExportWriter::Add(const v1::ScanResponse& page) {
  const v1::Entries& entries = page.entries();
  const size_t count = EntryCount(entries);
  if (count == 0) return absl::OkStatus();
  next_ = 0;
  RETURN_IF_ERROR(files_[next_++].Append(entries.keys().data()));
  RETURN_IF_ERROR(AddColumn<uint64_t>(entries.ids(), count));
  RETURN_IF_ERROR(AddColumn<float>(entries.weights(), count, 1.0F));
  RETURN_IF_ERROR(AddColumn<double>(entries.scores(), count));
  RETURN_IF_ERROR(AddColumn<int64_t>(entries.labels(), count));
  RETURN_IF_ERROR(AddColumn<uint64_t>(entries.sources(), count));
  RETURN_IF_ERROR(AddColumn<uint64_t>(entries.positions(), count));
  RETURN_IF_ERROR(AddColumn<int64_t>(entries.expiries_ms(), count));
  RETURN_IF_ERROR(AddColumn<int64_t>(entries.created_ms(), count));
  RETURN_IF_ERROR(AddColumn<uint64_t>(page.partitions(), count));
  RETURN_IF_ERROR(AddValues(entries.values(), count));
  rows_ += count;
  return absl::OkStatus();
}

absl::Status ExportWriter::Finish() {
  for (NpyWriter& file : files_) RETURN_IF_ERROR(file.Finish());
  return absl::OkStatus();
}

// What an export that is interrupted leaves behind: files are written under a name of their own until they are whole.
void RemovePartialFiles(const std::string& folder) {
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
    if (file.path().extension() == ".partial") std::filesystem::remove(file.path(), error);
  }
}

absl::Status Export(const ExportOptions& options, Session& session) {
  if (options.folder.empty() == options.faiss.empty()) return UsageError("export needs one of: --out; --faiss");
  if (!options.faiss.empty()) return ExportFaiss({options.memory, options.faiss, options.selection}, session);
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(options.memory));
  v1::CountRequest count_request;
  count_request.set_memory(options.memory);
  *count_request.mutable_partitions() = options.selection.ToPartitions();
  if (options.selection.HasFilter()) {
    ASSIGN_OR_RETURN(*count_request.mutable_filter(), options.selection.ToFilter());
  }
  ASSIGN_OR_RETURN(const v1::CountResponse count, session.memory().Count(count_request));
  RETURN_IF_ERROR(MakeFolder(options.folder));
  session.interrupt().OnInterrupt([folder = options.folder] { RemovePartialFiles(folder); });
  ASSIGN_OR_RETURN(ExportWriter writer, ExportWriter::New(options.folder, memory));
  Progress progress(session.live(), "export " + options.memory, "rows", count.count());
  v1::ScanRequest request;
  request.set_memory(options.memory);
  *request.mutable_partitions() = count_request.partitions();
  if (options.selection.HasFilter()) *request.mutable_filter() = count_request.filter();
  request.set_with_keys(true);
  const auto add_page = [&](v1::ScanResponse& page) {
    RETURN_IF_ERROR(writer.Add(page));
    progress.Set(writer.rows());
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(session.memory().Scan(request, add_page));
  RETURN_IF_ERROR(writer.Finish());
  session.interrupt().OnInterrupt({});
  std::ofstream(options.folder + "/memory.json") << MemoryJson(memory).dump(2) << "\n";
  if (session.json()) {
    session.PrintJson({{"rows", writer.rows()}, {"folder", options.folder}, {"seconds", progress.seconds()}});
  } else {
    session.Note(absl::StrCat("exported ", HumanCount(writer.rows()), " rows to ", options.folder));
  }
  return absl::OkStatus();
}

}  // namespace

void AddExport(Command app, Action& action) {
  Command verb = app.AddVerb("export", "Write a memory to arrays that import takes back", kEntries,
                             "  mneme export wiki --out backup/\n"
                             "  mneme import copy --keys backup/keys.npy --values backup/values.npy "
                              "--ids backup/ids.npy\n"
                             "  mneme export wiki --faiss wiki.faiss");
  auto options = std::make_shared<ExportOptions>();
  verb.AddOption("memory", options->memory, "The memory's name").Required().Type("");
  verb.AddOption("--out", options->folder, "Where keys.npy, values.npy, ids.npy, .. go").Type("FOLDER");
  verb.AddOption("--faiss", options->faiss, "One partition's index as FAISS's IVFFlat").Type("FILE.faiss");
  AddSelectionOptions(verb, options->selection);
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Export(*options, session); };
  });
}

}  // namespace mneme::cli
