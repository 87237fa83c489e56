// How changes of the catalogue are laid flat (flat_codec.h). Between processes alone: see flat_commands.h.
#ifndef MNEME_ENGINE_FLAT_CATALOGUE_H_
#define MNEME_ENGINE_FLAT_CATALOGUE_H_

#include "engine/catalogue.h"
#include "engine/catalogue_names.h"
#include "engine/flat_columns.h"

namespace mneme {

template <typename Codec, OneOf<ReplicaList> T>
void Describe(Codec& codec, T& replicas) {
  codec(replicas.addresses, replicas.fixed);
}

template <typename Codec, OneOf<CatalogueChanges> T>
void Describe(Codec& codec, T& changes) {
  codec(changes.whole, changes.revision, changes.next_number, changes.memories, changes.aliases, changes.removed,
        changes.replicas);
}

template <typename Codec, OneOf<RememberedChange> T>
void Describe(Codec& codec, T& change) {
  codec(change.sequence, change.request, change.status, change.memory);
}

template <typename Codec, OneOf<CatalogueSnapshot> T>
void Describe(Codec& codec, T& snapshot) {
  codec(snapshot.applied, snapshot.names, snapshot.remembered);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_CATALOGUE_H_
