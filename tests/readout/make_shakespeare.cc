// make_shakespeare TEXT DIRECTORY: writes the experiment's keys.npy, values.npy, queries.npy, targets.npy and
// lm_logprobs.npy, which `mneme import` and `mneme evaluate` read, and ids_later_first.npy: ids that descend, so that
// a memory which orders ties by id keeps the later entries, as the published figures for k = 1024 do. See
// shakespeare.h.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "client/npy/npy_file.h"
#include "tests/readout/shakespeare.h"

namespace mneme {
namespace {

template <typename T>
absl::Status WriteArray(const std::string& path, NpyDtype dtype, uint64_t columns, const std::vector<T>& items) {
  absl::StatusOr<NpyWriter> writer = NpyWriter::Create(path, dtype, columns);
  if (!writer.ok()) return writer.status();
  if (const absl::Status status = writer->AppendItems(items); !status.ok()) return status;
  return writer->Finish();
}

absl::Status WriteExperiment(const std::string& text, const std::string& directory) {
  const Shakespeare experiment(text);
  absl::Status status;
  const auto write = [&](const char* name, NpyDtype dtype, uint64_t columns, const auto& items) {
    status.Update(WriteArray(directory + "/" + name, dtype, columns, items));
  };
  write("keys.npy", NpyDtype::kF32, Shakespeare::kDimension, experiment.StoreKeys());
  write("values.npy", NpyDtype::kU32, 0, experiment.StoreValues());
  std::vector<uint64_t> ids(Shakespeare::kEntries);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = ids.size() - 1 - i;
  write("ids_later_first.npy", NpyDtype::kU64, 0, ids);
  write("queries.npy", NpyDtype::kF32, Shakespeare::kDimension, experiment.QueryKeys());
  write("targets.npy", NpyDtype::kU32, 0, experiment.QueryTargets());
  write("lm_logprobs.npy", NpyDtype::kF64, 0, experiment.QueryLmLogProbs());
  return status;
}

int Main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: make_shakespeare tinyshakespeare.txt DIRECTORY\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  constexpr size_t kNeeded = Shakespeare::kFirstQueryByte + Shakespeare::kContext + Shakespeare::kQueries;
  if (text.size() < kNeeded) {
    std::cerr << argv[1] << " has " << text.size() << " bytes; must have at least " << kNeeded << "\n";
    return 1;
  }
  if (const absl::Status status = WriteExperiment(text, argv[2]); !status.ok()) {
    std::cerr << status.message() << "\n";
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace mneme

int main(int argc, char** argv) { return mneme::Main(argc, argv); }
