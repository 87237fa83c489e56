#include "server/mixture_columns.h"

#include <string>

#include "server/convert_columns.h"

namespace mneme {

MixtureColumns::MixtureColumns(absl::Span<const QuerySource> sources, v1::QueryResponse* response)
    : response_(response), found_(sources.size()), active_(sources.size()) {
  for (const QuerySource& source : sources) weights_.push_back(source.weight);
}

void MixtureColumns::AddEffective(absl::Span<const double> effective) {
  for (int s = 0; s < response_->sources_size(); ++s) {
    std::string* weights = response_->mutable_sources(s)->mutable_weights();
    AppendReal(effective[static_cast<size_t>(s)], v1::PRECISION_DOUBLE, weights);
  }
}

void MixtureColumns::Finish() {
  for (int s = 0; s < response_->sources_size(); ++s) {
    v1::MixtureAnswer* answer = response_->mutable_sources(s);
    WriteColumn(found_[static_cast<size_t>(s)], answer->mutable_found());
    WriteColumn(active_[static_cast<size_t>(s)], answer->mutable_active());
  }
}

}  // namespace mneme
