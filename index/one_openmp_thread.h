// OneOpenMpThread: FAISS starts as many OpenMP threads as the calling thread would: none but itself while this lives.
#ifndef MNEME_INDEX_ONE_OPENMP_THREAD_H_
#define MNEME_INDEX_ONE_OPENMP_THREAD_H_

#include <omp.h>

namespace mneme {

class OneOpenMpThread {
 public:
  OneOpenMpThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneOpenMpThread() { omp_set_num_threads(before_); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  const int before_;
};

}  // namespace mneme

#endif  // MNEME_INDEX_ONE_OPENMP_THREAD_H_
