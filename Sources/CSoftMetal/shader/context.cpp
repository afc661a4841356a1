#include "context.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "../checks/checks.h"
#include "dispatch.h"
#include "faults.h"
#include "softmetal_runtime.h"
#include "switch.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define SM_ADDRESS_SANITIZER 1
#endif
#endif

namespace softmetal {
namespace {

// The region's header: context, lanes, simdgroups, and a stack for signal handlers. Behind the stacks of the lanes
// comes threadgroup memory, between pages that nobody may touch.
constexpr uint64_t kSimdgroupsOffset = uint64_t{128} << 10;
constexpr uint64_t kSignalStackBytes = uint64_t{40} << 10;
constexpr uint64_t kSignalStackOffset = kHeaderBytes - kSignalStackBytes;
constexpr uint64_t kArenaOffset = kHeaderBytes + (kMostLanes + 2) * kStackBytes;
static_assert(sizeof(Context) <= kLanesOffset);
static_assert(kLanesOffset + kMostLanes * sizeof(Lane) <= kSimdgroupsOffset);
static_assert(kSimdgroupsOffset + kMostLanes / kSimdWidth * sizeof(Simdgroup) <= kSignalStackOffset);
static_assert(kArenaOffset + 2 * kStackBytes <= kRegionBytes);
/// Each usable stack costs two of the mappings that a process may have (65530 by default).
constexpr uint32_t kMostUsableLanes = 24 << 10;
constexpr uint32_t kMostContexts = 2048;
static_assert(Context::Setback(127) + Context::kUsableStackBytes + (uint64_t{16} << 10) <= kStackBytes);

/// Bytes at the low end of a stack that nobody may touch. A large page leaves a little less than promised.
uint64_t GuardBytes() { return std::max(sm_page_bytes(), uint64_t{16} << 10); }

std::atomic<uint64_t> regions[kMostContexts];
std::atomic<uint32_t> region_count{0};
std::atomic<uint32_t> all_usable_lanes{0};

char *StackOf(char *region, uint32_t lane) { return region + kHeaderBytes + lane * kStackBytes; }

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

Simdgroup *Context::simdgroups() const { return reinterpret_cast<Simdgroup *>(base() + kSimdgroupsOffset); }
char *Context::arena() const { return base() + kArenaOffset; }

Context *Context::Create() {
  const uint32_t number = region_count.load();
  if (number == kMostContexts) return nullptr;
  void *mapped = mmap(nullptr, 2 * kRegionBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<uint64_t>(mapped);
  const uint64_t region = (begin + kRegionBytes - 1) & ~(kRegionBytes - 1);
  if (region != begin) munmap(mapped, region - begin);
  munmap(reinterpret_cast<void *>(region + kRegionBytes), begin + kRegionBytes - region);

  auto *memory = reinterpret_cast<char *>(region);
  if (mprotect(memory, kHeaderBytes, PROT_READ | PROT_WRITE) != 0 ||
      mprotect(memory + kArenaOffset, kThreadgroupCapacity, PROT_READ | PROT_WRITE) != 0) {
    munmap(memory, kRegionBytes);
    return nullptr;
  }
  auto *context = new (memory) Context;
  for (uint32_t i = 0; i < kMostLanes; ++i) {
    Lane &lane = context->lanes()[i];
    lane.index = i;
    lane.id = i % kSimdWidth;
    lane.simdgroup = &context->simdgroups()[i / kSimdWidth];
  }
  for (uint32_t i = 0; i < kMostLanes / kSimdWidth; ++i) {
    Simdgroup &simdgroup = context->simdgroups()[i];
    simdgroup.index = i;
    simdgroup.lanes = &context->lanes()[i * kSimdWidth];
    simdgroup.threadgroup = &context->group_;
  }
  regions[number].store(region);
  region_count.store(number + 1);
  return context;
}

Context *Context::At(uint64_t sp) {
  const uint64_t region = sp & ~(kRegionBytes - 1);
  for (uint32_t i = 0, count = region_count.load(); i < count; ++i) {
    if (regions[i].load() == region) return reinterpret_cast<Context *>(region);
  }
  return nullptr;
}

bool Context::Grow(uint32_t lanes) {
  if (lanes <= usable_lanes_) return true;
  const uint32_t more = lanes - usable_lanes_;
  if (all_usable_lanes.fetch_add(more) + more > kMostUsableLanes) {
    all_usable_lanes.fetch_sub(more);
    return false;
  }
  const uint64_t guard = GuardBytes();
  for (uint32_t i = usable_lanes_; i < lanes; ++i) {
    if (mprotect(StackOf(base(), i) + guard, kStackBytes - guard, PROT_READ | PROT_WRITE) != 0) {
      all_usable_lanes.fetch_sub(lanes - i);
      return false;
    }
    usable_lanes_ = i + 1;
  }
  return true;
}

bool Context::IsStackGuard(uint64_t address) const {
  const uint64_t offset = address - reinterpret_cast<uint64_t>(base());
  return offset >= kHeaderBytes && offset < kArenaOffset && (offset & (kStackBytes - 1)) < GuardBytes();
}

bool Context::IsNearThreadgroupMemory(uint64_t address) const {
  const uint64_t offset = address - reinterpret_cast<uint64_t>(base());
  return offset >= kArenaOffset - kStackBytes && offset < kRegionBytes;
}

void Context::Enter(Dispatch &dispatch) {
  dispatch_ = &dispatch;
  checker_ = dispatch.checker();
  entry_ = dispatch.module().entry;
  order_ = dispatch.options().order;
  interleave_ = dispatch.options().interleave;
  dispatch.Bind(arena(), group_);
  const sm_dispatch &d = dispatch.dispatch();
  std::copy_n(d.threadgroups, 3, group_.groups);
  std::copy_n(d.threads, 3, group_.full_size);
  // A grid of whole threadgroups has as many threads as they have together, whatever its maker has put down.
  for (int i = 0; i < 3; ++i) {
    const uint64_t whole = uint64_t{d.threadgroups[i]} * d.threads[i];
    const bool ragged = whole - d.grid_threads[i] < d.threads[i];
    group_.grid[i] = ragged ? d.grid_threads[i] : static_cast<uint32_t>(whole);
  }
  group_.full_simdgroups = (dispatch.threads() + kSimdWidth - 1) / kSimdWidth;
  stats_ = {};
  expired.store(false);
  thread_ = pthread_self();

  sigset_t ours;
  sigemptyset(&ours);
  for (int signal : kSignals) sigaddset(&ours, signal);
  pthread_sigmask(SIG_UNBLOCK, &ours, &mask_before_);
  stack_t stack{};
  stack.ss_sp = base() + kSignalStackOffset;
  stack.ss_size = kSignalStackBytes;
  sigaltstack(&stack, &stack_before_);
}

void Context::Leave() {
  sigaltstack(&stack_before_, nullptr);
  pthread_sigmask(SIG_SETMASK, &mask_before_, nullptr);
}

/// Positions depend on the threadgroup's size alone, which is the same for all but those at the edges.
void Context::Shape(const uint32_t size[3]) {
  if (std::equal(size, size + 3, group_.size) && lane_count_ != 0) return;
  std::copy_n(size, 3, group_.size);
  lane_count_ = size[0] * size[1] * size[2];
  group_.simdgroups = (lane_count_ + kSimdWidth - 1) / kSimdWidth;
  Lane *lane = lanes();
  for (uint32_t z = 0; z < size[2]; ++z) {
    for (uint32_t y = 0; y < size[1]; ++y) {
      for (uint32_t x = 0; x < size[0]; ++x, ++lane) {
        lane->position[0] = x;
        lane->position[1] = y;
        lane->position[2] = z;
      }
    }
  }
}

/// Makes the lanes ready to begin.
void Context::Place(uint64_t threadgroup) {
  const uint64_t row = threadgroup / group_.groups[0];
  const uint32_t position[3] = {static_cast<uint32_t>(threadgroup % group_.groups[0]),
                                static_cast<uint32_t>(row % group_.groups[1]),
                                static_cast<uint32_t>(row / group_.groups[1])};
  uint32_t size[3];
  for (int i = 0; i < 3; ++i) {
    group_.position[i] = position[i];
    size[i] = std::min(group_.full_size[i], group_.grid[i] - position[i] * group_.full_size[i]);
  }
  Shape(size);
  random_ = Mix(dispatch_->options().seed + 0x9e3779b97f4a7c15u * (threadgroup + 1)) | 1;

  for (uint32_t i = 0; i < group_.simdgroups; ++i) {
    Simdgroup &simdgroup = simdgroups()[i];
    const uint32_t count = std::min(kSimdWidth, lane_count_ - i * kSimdWidth);
    simdgroup.ready = simdgroup.alive = simdgroup.members = ~0u >> (kSimdWidth - count);
    simdgroup.site = 0;
    simdgroup.mixed = simdgroup.parked = 0;
    simdgroup.direct = order_ == SM_ORDER_FORWARD && interleave_ == 0 && checker_ == nullptr;
    simdgroup.filling = simdgroup.done = simdgroup.banks;
    simdgroup.collectives = simdgroup.divergent = 0;
  }
  for (uint32_t i = 0; i < lane_count_; ++i) {
    lanes()[i].stack = PrepareStack(StackOf(base(), i + 1) - Setback(i), Begin);
  }
}

Outcome Context::Run(uint64_t threadgroup) {
  Place(threadgroup);
  dispatch_->Poison(group_);
  if (checker_ != nullptr) checker_->OnThreadgroupStart(group_.position[0], group_.position[1], group_.position[2]);
  outcome_ = {};
  softmetal_switch(&home_, Choose(nullptr)->stack);
  if (outcome_.signal != 0) ForgetFrames();
  if (checker_ != nullptr) checker_->OnThreadgroupEnd();
  for (uint32_t i = 0; i < group_.simdgroups; ++i) {
    stats_.collectives += simdgroups()[i].collectives;
    stats_.divergent += simdgroups()[i].divergent;
  }
  return outcome_;
}

/// Functions that were given up half way have left marks on their stacks for the address sanitizer.
void Context::ForgetFrames() {
#if SM_ADDRESS_SANITIZER
  const uint64_t guard = GuardBytes();
  for (uint32_t i = 0; i < lane_count_; ++i) {
    __asan_unpoison_memory_region(StackOf(base(), i) + guard, kStackBytes - guard);
  }
#endif
}

void Context::Escape(int signal, const siginfo_t &info, uint64_t sp, uint64_t *pc_to, uint64_t *sp_to) {
  outcome_.signal = signal;
  outcome_.code = info.si_code;
  outcome_.address = reinterpret_cast<uint64_t>(info.si_addr);
  outcome_.lane = &lanes()[(sp - reinterpret_cast<uint64_t>(base()) - kHeaderBytes) / kStackBytes % kMostLanes];
  const Resumption home = ResumptionOf(home_);
  *pc_to = home.pc;
  *sp_to = home.sp;
}

}  // namespace softmetal
