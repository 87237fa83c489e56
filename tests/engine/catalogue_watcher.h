// One who watches tellers of names (tests/engine/catalogue_tellers.h), and the changes that tests ask of them.
#ifndef MNEME_TESTS_ENGINE_CATALOGUE_WATCHER_H_
#define MNEME_TESTS_ENGINE_CATALOGUE_WATCHER_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "engine/catalogue_names.h"
#include "engine/catalogue_teller.h"
#include "engine/log_record.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme::testing {

inline CreateMemoryCommand Create(const std::string& name, uint32_t dimension = 4) {
  return {TokenMemory(name, dimension), NewChangeRequest()};
}
inline DropMemoryCommand Drop(const std::string& name) { return {name, NewChangeRequest()}; }
inline SetAliasCommand Set(const std::string& alias, const std::string& memory) {
  return {{alias, memory, std::nullopt}, NewChangeRequest()};
}

// One who watches whichever teller a test says, as cluster/catalogue_watch.h does.
class TestWatcher {
 public:
  // Whether the teller lent him anything.
  bool Ask(CatalogueTeller& teller) {
    std::promise<CatalogueFeed::Answer> told;
    const std::chrono::steady_clock::time_point asked = std::chrono::steady_clock::now();
    teller.feed().Watch("watcher", {epoch_, revision_, true},
                        [&](CatalogueFeed::Answer answer) { told.set_value(std::move(answer)); });
    const CatalogueFeed::Answer answer = told.get_future().get();
    if (answer.lease <= std::chrono::milliseconds::zero() || answer.changes.revision < revision_) return false;
    EXPECT_TRUE(names_.Apply(answer.changes).ok());
    epoch_ = answer.epoch;
    revision_ = answer.changes.revision;
    until_ = std::max(until_, asked + answer.lease);
    return true;
  }
  bool Knows(const std::string& name) const { return names_.Find(name).ok(); }
  std::chrono::steady_clock::time_point until() const { return until_; }

 private:
  CatalogueNames names_;
  uint64_t epoch_ = 0;
  uint64_t revision_ = 0;
  std::chrono::steady_clock::time_point until_ = std::chrono::steady_clock::time_point::min();
};

// Until it lends; false when it has not for long.
inline bool AwaitLent(CatalogueTeller& teller, TestWatcher& watcher) {
  const std::chrono::steady_clock::time_point end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!watcher.Ask(teller)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}
// Until it lends nothing any more.
inline bool AwaitNotLent(CatalogueTeller& teller) {
  const std::chrono::steady_clock::time_point end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (teller.known().until > std::chrono::steady_clock::now()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_CATALOGUE_WATCHER_H_
