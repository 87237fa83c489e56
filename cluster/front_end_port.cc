#include "cluster/front_end_port.h"

#include <random>

namespace mneme {

RequestIdentity FrontEndPort::RandomIdentity() {
  static thread_local std::mt19937_64 random{uint64_t{std::random_device{}()} << 32 | std::random_device{}()};
  return {{random(), random()}, 0};
}

}  // namespace mneme
