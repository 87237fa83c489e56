// Recall, rows scanned and time per query of the index on real data, beside the exact search of the same batch.
//
//   index_search [wiki|words] [l2|ip|cosine] [index, as in a memory's description] [queries] [recall target] [k]
//   [batch]
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <unordered_set>

#include "index/search.h"
#include "tests/index/shared_data.h"

namespace mneme {
namespace {

// Processor time of this thread, which is the only one: other programs on the machine blur it little.
double Now() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Seconds(double since) { return Now() - since; }

struct Collection {
  IndexSpec spec;
  std::vector<uint16_t> keys;
  std::vector<float> queries;
  double target = 0.95;
  size_t batch = 64;
};

Collection Load(const std::string& name, Metric metric, size_t queries) {
  const std::string root = testing::SharedData().value_or("");
  Collection collection;
  const bool wiki = name == "wiki";
  collection.spec = {wiki ? 128U : 100U, metric, Dtype::kF16, sizeof(Token), {}};
  collection.keys = testing::ReadNpy<uint16_t>(root + (wiki ? "/knnlm_wiki/store_keys.npy" : "/ann_words/base.npy"));
  const auto all = testing::ToFloats(
      testing::ReadNpy<uint16_t>(root + (wiki ? "/knnlm_wiki/dev/query_keys.npy" : "/ann_words/query.npy")));
  // Every n-th query, so that all articles take part.
  const size_t count = all.size() / collection.spec.dimension;
  queries = std::min(queries, count);
  for (size_t i = 0; i < queries; ++i) {
    const auto first = all.begin() + static_cast<ptrdiff_t>(i * count / queries * collection.spec.dimension);
    collection.queries.insert(collection.queries.end(), first, first + collection.spec.dimension);
  }
  return collection;
}

std::shared_ptr<const IndexVersion> Build(const Collection& c, uint32_t lists) {
  const size_t d = c.spec.dimension;
  const size_t rows = c.keys.size() / d;
  if (lists == 0) lists = ListsFor(rows);
  const size_t sample_rows = std::min(rows, size_t{lists} * 64);
  std::vector<float> sample(sample_rows * d);
  for (size_t i = 0; i < sample_rows; ++i) {
    DecodeVector(Dtype::kF16, reinterpret_cast<const char*>(c.keys.data() + i * rows / sample_rows * d), d,
                 sample.data() + i * d);
  }
  auto start = Now();
  const std::shared_ptr<Codebook> codebook = Codebook::Train(c.spec, 1, sample, lists).value();
  std::printf("train: %u lists of %zu rows, %.2f s\n", lists, sample_rows, Seconds(start));
  start = Now();
  SegmentBuilder builder(c.spec, codebook, 0, rows);
  const auto for_each = [&](const auto& visit) {
    for (Row row = 0; row < rows; ++row) {
      EntryView entry;
      const uint32_t token = static_cast<uint32_t>(row);
      entry.id = row;
      entry.key = {reinterpret_cast<const char*>(c.keys.data() + row * d), c.spec.KeyBytes()};
      entry.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
      visit(row, entry);
    }
  };
  const std::string path = std::filesystem::temp_directory_path() / "mneme_index_search_bench.seg";
  for_each([&](Row row, const EntryView& entry) { builder.Add(row, entry); });
  absl::Status status = builder.Begin(path, {});
  for_each([&](Row row, const EntryView& entry) { builder.Place(row, entry); });
  if (status.ok()) status = builder.Finish({});
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }
  std::printf("segment: %.2f s\n", Seconds(start));
  start = Now();
  auto version = std::make_shared<IndexVersion>();
  version->codebook = codebook;
  version->segments.push_back(Segment::Open(path, c.spec, {}).value());
  version->tail_from = rows;
  std::printf("open: %.3f s, %.1f bytes per row\n", Seconds(start),
              static_cast<double>(version->segments[0]->file_bytes()) / static_cast<double>(rows));
  std::filesystem::remove(path);
  return version;
}

struct Outcome {
  std::vector<EntryId> ids;  // [queries x k]
  SearchStatistics statistics;
  double seconds = 0.0;
};

// Searches in batches, as a server does: a batch of thousands would mostly measure the page faults of its answer.
Outcome SearchAll(const Collection& c, const std::shared_ptr<const IndexVersion>& version, SearchRequest request) {
  const size_t count = c.queries.size() / c.spec.dimension;
  request.spec = c.spec;
  Outcome outcome;
  for (size_t first = 0; first < count; first += c.batch) {
    request.queries = c.queries.data() + first * c.spec.dimension;
    request.query_count = std::min(c.batch, count - first);
    const auto start = Now();
    const SearchResult found = Search({&version, 1}, request).value();
    outcome.seconds += Seconds(start);
    if (found.neighbours.size() != request.query_count * request.k) std::abort();
    outcome.ids.insert(outcome.ids.end(), found.neighbours.ids.begin(), found.neighbours.ids.end());
    outcome.statistics.rows_scanned += found.statistics.rows_scanned * request.query_count;
    outcome.statistics.rows_reranked += found.statistics.rows_reranked;
    outcome.statistics.lists_probed += found.statistics.lists_probed * request.query_count;
  }
  return outcome;
}

double Recall(const Outcome& exact, const Outcome& found, uint32_t k) {
  size_t hits = 0;
  for (size_t first = 0; first < exact.ids.size(); first += k) {
    const auto begin = exact.ids.begin() + static_cast<ptrdiff_t>(first);
    const std::unordered_set<EntryId> truth(begin, begin + k);
    for (size_t i = first; i < first + k; ++i) hits += truth.count(found.ids[i]);
  }
  return static_cast<double>(hits) / static_cast<double>(exact.ids.size());
}

void Measure(const Collection& c, const std::shared_ptr<const IndexVersion>& version, uint32_t k, uint32_t probes,
             const Outcome& exact) {
  SearchRequest request;
  request.k = k;
  request.exact = false;
  request.probes = probes;
  request.recall_target = c.target;
  const Outcome found = SearchAll(c, version, request);
  const double count = static_cast<double>(c.queries.size() / c.spec.dimension);
  const double rows = static_cast<double>(version->rows());
  std::printf("k %4u probes %4.0f%s: recall %.4f, scanned %5.2f %%, %.4f ms/query (exact %.3f ms: x%.1f), "
              "rerank %.0f\n",
              k, static_cast<double>(found.statistics.lists_probed) / count, probes == 0 ? " (target)" : "         ",
              Recall(exact, found, k), 100.0 * static_cast<double>(found.statistics.rows_scanned) / count / rows,
              1e3 * found.seconds / count, 1e3 * exact.seconds / count, exact.seconds / found.seconds,
              static_cast<double>(found.statistics.rows_reranked) / count);
}

int Run(int argc, char** argv) {
  if (!testing::SharedData()) {
    std::printf("shared data is absent: nothing measured\n");
    return 0;
  }
  const std::string name = argc > 1 ? argv[1] : "wiki";
  const std::string metric_name = argc > 2 ? argv[2] : "l2";
  const Metric metric = metric_name == "ip"       ? Metric::kInnerProduct
                        : metric_name == "cosine" ? Metric::kCosine
                                                  : Metric::kL2;
  Collection c = Load(name, metric, argc > 4 ? static_cast<size_t>(std::atoi(argv[4])) : 2000);
  c.spec.index = ParseIndexChoice(argc > 3 ? argv[3] : "auto", c.spec.dimension).value();
  c.target = argc > 5 ? std::atof(argv[5]) : 0.95;
  const std::shared_ptr<const IndexVersion> version = Build(c, c.spec.index.lists);
  std::vector<uint32_t> ks = {10, 100, 1024};
  if (argc > 6) ks = {static_cast<uint32_t>(std::atoi(argv[6]))};
  if (argc > 7) c.batch = static_cast<size_t>(std::atoi(argv[7]));
  for (const uint32_t k : ks) {
    SearchRequest request;
    request.k = k;
    const Outcome exact = SearchAll(c, version, request);
    Measure(c, version, k, 0, exact);
    for (const uint32_t probes : {8U, 16U, 32U, 64U, 128U}) Measure(c, version, k, probes, exact);
  }
  return 0;
}

}  // namespace
}  // namespace mneme

int main(int argc, char** argv) { return mneme::Run(argc, argv); }
