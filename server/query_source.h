// QuerySource: a memory that a query asks, what it is asked, and what it answered. A mixture has several.
#ifndef MNEME_SERVER_QUERY_SOURCE_H_
#define MNEME_SERVER_QUERY_SOURCE_H_

#include <cstdint>

#include "engine/commands.h"

namespace mneme {

// Plain data; thread-compatible.
struct QuerySource {
  MemoryHandle memory;
  double weight = 1.0;  // as it was given; a memory that is asked alone has 1
  bool several_partitions = false;
  uint32_t k = 0;  // neighbours to be read out; kEveryEntry: all
  // To the engine, which it is moved into. Its k is what is searched for, with room for ties.
  QueryCommand command;
  uint32_t searched_k = 0;
  QueryOutcome outcome;  // once it has answered

  const MemorySpec& spec() const { return memory->spec; }
};

}  // namespace mneme

#endif  // MNEME_SERVER_QUERY_SOURCE_H_
