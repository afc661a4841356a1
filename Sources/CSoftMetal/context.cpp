// What a running kernel may ask for: parallel regions and scratch memory.
#include <cstdlib>

#include "softmetal_runtime.h"
#include "thread_pool.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kLeastScratch = uint64_t{64} << 10;

/// Grows by powers of two while small and by huge pages then, so that a series of rising requests allocates rarely.
uint64_t ScratchCapacity(uint64_t bytes) {
  if (bytes <= kLeastScratch) return kLeastScratch;
  if (bytes < kHugePage) return uint64_t{1} << (64 - __builtin_clzll(bytes - 1));
  return bytes > UINT64_MAX - kHugePage ? 0 : (bytes + kHugePage - 1) / kHugePage * kHugePage;
}

}  // namespace

struct sm_context {
  sm_executor executor{};
  void *scratch = nullptr;
  uint64_t capacity = 0;

  ~sm_context() { std::free(scratch); }

  static void Parallel(void *, uint64_t tasks, void (*task)(void *, uint64_t, uint32_t), void *context) {
    softmetal::ThreadPool::Shared().Run(tasks, task, context);
  }

  static void *Scratch(void *self, uint64_t bytes) { return static_cast<sm_context *>(self)->Reserve(bytes); }

  void *Reserve(uint64_t bytes) {
    if (bytes <= capacity && scratch != nullptr) return scratch;
    const uint64_t wanted = ScratchCapacity(bytes);
    if (wanted == 0) return nullptr;
    std::free(scratch);
    scratch = nullptr;
    capacity = 0;
    void *memory = nullptr;
    if (posix_memalign(&memory, wanted >= kHugePage ? kHugePage : 64, wanted) != 0) return nullptr;
#ifdef __linux__
    // Advice: a refusal changes nothing but speed.
    if (wanted >= kHugePage) (void)madvise(memory, wanted, MADV_HUGEPAGE);
#endif
    scratch = memory;
    capacity = wanted;
    return scratch;
  }
};

sm_context *sm_context_create(void) {
  auto *context = new sm_context;
  context->executor = {context, sm_worker_count(), sm_context::Parallel, sm_context::Scratch};
  return context;
}

void sm_context_destroy(sm_context *context) { delete context; }

const sm_executor *sm_context_executor(const sm_context *context) { return &context->executor; }
