// Contexts that are kept from one dispatch to the next.
#ifndef SOFTMETAL_SHADER_CONTEXT_POOL_H
#define SOFTMETAL_SHADER_CONTEXT_POOL_H

#include <memory>
#include <mutex>

#include "context.h"

namespace softmetal {

class ContextPool {
 public:
  struct Return {
    void operator()(Context *context) const { Shared().Give(context); }
  };
  using Lease = std::unique_ptr<Context, Return>;

  static ContextPool &Shared() {
    static ContextPool &pool = *new ContextPool;  // never destroyed: threads may outlive static destructors
    return pool;
  }

  /// A context with so many stacks, or null.
  Lease Take(uint32_t lanes) {
    Context *context;
    {
      const std::lock_guard lock(mutex_);
      context = free_;
      if (context != nullptr) {
        free_ = context->next_free;
      } else {
        context = Context::Create();
      }
    }
    Lease lease(context);
    if (context == nullptr || context->Grow(lanes)) return lease;
    return nullptr;
  }

 private:
  void Give(Context *context) {
    const std::lock_guard lock(mutex_);
    context->next_free = free_;
    free_ = context;
  }

  std::mutex mutex_;
  Context *free_ = nullptr;
};

}  // namespace softmetal
#endif
