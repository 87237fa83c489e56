// `mneme create`.
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/describe.h"
#include "client/cli/exit_code.h"
#include "client/cli/fingerprint.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

struct CreateOptions {
  std::string name;
  uint32_t dimension = 0;
  std::string metric;
  std::string value;
  uint32_t vocabulary_size = 0;
  uint32_t value_dimension = 0;
  std::string key_dtype = "f32";
  std::string spread;  // empty: the server's default
  std::string index = "auto";
  uint64_t capacity = 0;
  std::vector<std::string> fingerprint;
};

absl::Status Create(const CreateOptions& options, Session& session) {
  v1::MemoryDescription memory;
  memory.set_name(options.name);
  memory.set_dimension(options.dimension);
  memory.set_metric(options.metric == "l2"     ? v1::METRIC_L2
                    : options.metric == "ip" ? v1::METRIC_INNER_PRODUCT
                                             : v1::METRIC_COSINE);
  memory.set_value_kind(options.value == "token"    ? v1::VALUE_KIND_TOKEN
                        : options.value == "vector" ? v1::VALUE_KIND_VECTOR
                        : options.value == "sparse" ? v1::VALUE_KIND_SPARSE_VECTOR
                                                    : v1::VALUE_KIND_BYTES);
  memory.set_key_dtype(options.key_dtype == "f16" ? v1::DTYPE_F16 : v1::DTYPE_F32);
  if (!options.spread.empty()) memory.set_spread(options.spread == "one" ? v1::SPREAD_ONE : v1::SPREAD_ALL);
  memory.set_index(options.index);
  memory.set_capacity(options.capacity);
  memory.set_vocabulary_size(options.vocabulary_size);
  memory.set_value_dimension(options.value_dimension);
  ASSIGN_OR_RETURN(*memory.mutable_fingerprint(), ParseFingerprint(options.fingerprint));
  if (options.value == "vector" && options.value_dimension == 0) {
    return UsageError("--value vector needs --value-dim M");
  }
  ASSIGN_OR_RETURN(const v1::MemoryDescription created, session.admin().CreateMemory(memory));
  if (session.json()) {
    session.PrintJson(MemoryJson(created));
  } else {
    session.Note(absl::StrCat("created memory \"", created.name(), "\""));
  }
  return absl::OkStatus();
}

}  // namespace

void AddCreate(Command app, Action& action) {
  Command verb = app.AddVerb("create", "Create a memory", kMemories,
                             "  mneme create wiki --dim 1024 --metric l2 --value token --vocab-size 50257 \\\n"
                             "      --key-dtype f16 --fingerprint model=gpt2,layer=h.11.ln_2\n"
                             "  mneme create notes --dim 384 --metric cosine --value bytes");
  auto options = std::make_shared<CreateOptions>();
  verb.AddOption("name", options->name, "1 to 128 of a-z 0-9 . _ -").Required().Type("");
  verb.AddOption("--dim", options->dimension, "Components of a key").Required().Type("D")
      .Range(1U, limits::kMaxDimension);
  verb.AddOption("--metric", options->metric, "l2 (squared), ip or cosine").Required().Type("METRIC")
      .OneOf({"l2", "ip", "cosine"});
  verb.AddOption("--value", options->value, "token, vector, sparse or bytes").Required().Type("KIND")
      .OneOf({"token", "vector", "sparse", "bytes"});
  verb.AddOption("--vocab-size", options->vocabulary_size, "token: values are below it (0: any); sparse: components")
      .Type("V").Range(0U, limits::kMaxVocabularySize);
  verb.AddOption("--value-dim", options->value_dimension, "vector: components of a value").Type("M")
      .Range(1U, limits::kMaxValueDimension);
  verb.AddOption("--key-dtype", options->key_dtype, "f32 (default), or f16 at half the bytes").Type("DTYPE")
      .OneOf({"f32", "f16"});
  verb.AddOption("--spread", options->spread, "Over all shards (default), or on one (default with a capacity)")
      .Type("all|one").OneOf({"all", "one"});
  verb.AddOption("--index", options->index,
                   "auto (default), flat, f16, int8, pq:M, pq:Mx4, rabitq:B, pca:D, opq:M, or a FAISS factory string")
      .Type("INDEX");
  verb.AddOption("--capacity", options->capacity, "Entries of each partition; the oldest make room (0: no bound)")
      .Type("N").Range(uint64_t{0}, limits::kMaxCapacity);
  AddFingerprintOption(verb, options->fingerprint,
                       "What made the keys: model, revision, layer, tokenizer_hash, vocabulary_size, normalization");
  verb.WhenGiven([options, &action] {
    action = [options](Session& session) { return Create(*options, session); };
  });
}

}  // namespace mneme::cli
