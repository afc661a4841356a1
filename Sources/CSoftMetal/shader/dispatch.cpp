#include "dispatch.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <numeric>

#include "checked_dispatch.h"
#include "context_pool.h"
#include "faults.h"
#include "softmetal_runtime.h"

namespace softmetal {
namespace {

constexpr uint64_t kArenaAlignment = 256;

uint64_t RoundUp(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

std::string Triple(const uint32_t (&v)[3]) {
  return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) + ")";
}

}  // namespace

Dispatch::Dispatch(const Module &module, const sm_dispatch &dispatch, const sm_shader_options &options)
    : module_(module), dispatch_(dispatch), options_(options) {}

Dispatch::~Dispatch() = default;

Checker *Dispatch::checker() const { return checked_ == nullptr ? nullptr : checked_->checker(); }

/// Why the dispatch cannot be run, or an empty text. Computes what follows from its sizes.
std::string Dispatch::Refusal() {
  const uint64_t most = module_.max_threads;
  uint64_t threads = 1;
  for (uint32_t size : dispatch_.threads) threads = size > most ? most + 1 : std::min(threads * size, most + 1);
  if (threads == 0 || threads > most) {
    return "threadgroup of " + Triple(dispatch_.threads) + " threads: expected 1 to " + std::to_string(most);
  }
  threads_ = static_cast<uint32_t>(threads);
  total_ = 1;
  for (int i = 0; i < 3; ++i) {
    if (__builtin_mul_overflow(total_, dispatch_.threadgroups[i], &total_)) return "the grid has too many threadgroups";
    const uint64_t whole = uint64_t{dispatch_.threadgroups[i]} * dispatch_.threads[i];
    if (whole > uint64_t{std::numeric_limits<uint32_t>::max()} + dispatch_.threads[i]) return "the grid is too large";
  }
  arena_bytes_ = RoundUp(module_.static_bytes, kArenaAlignment);
  for (uint32_t i = 0; i < SM_THREADGROUP_SLOTS; ++i) {
    arena_offsets_[i] = arena_bytes_;
    const uint64_t bytes = dispatch_.threadgroup_bytes[i];
    if (bytes > Context::kThreadgroupCapacity || arena_bytes_ > Context::kThreadgroupCapacity) break;
    arena_bytes_ += RoundUp(bytes, kArenaAlignment);
  }
  uint64_t wanted = module_.static_bytes;
  for (uint64_t bytes : dispatch_.threadgroup_bytes) wanted += std::min(bytes, Context::kThreadgroupCapacity + 1);
  if (arena_bytes_ > Context::kThreadgroupCapacity || wanted > Context::kThreadgroupCapacity) {
    return "threadgroup memory: expected at most " + std::to_string(Context::kThreadgroupCapacity) + " bytes";
  }
  if (options_.order > SM_ORDER_RANDOM) return "unknown order " + std::to_string(options_.order);
  if (options_.checked != 0 && module_.checked == 0) return "the kernel was compiled without checks";
  return {};
}

std::string Dispatch::Run() {
  const std::string name = std::string("kernel '") + module_.name + "': ";
  stats_.failure = SM_FAILURE_OTHER;  // until the end is reached
  if (std::string refusal = Refusal(); !refusal.empty()) return name + refusal;
  if (total_ == 0) {
    stats_.failure = SM_FAILURE_NONE;
    return {};
  }
  if (options_.checked != 0) {
    checked_ = CheckedDispatch::Create(*this);
    if (checked_ == nullptr) return name + "no memory to check it in";
  }
  if (options_.time_limit > 0) deadline_ = sm_now() + options_.time_limit;
  if (options_.order == SM_ORDER_RANDOM) {
    // Steps of any length without a common divisor lead through all threadgroups.
    stride_ = options_.seed % total_ | 1;
    while (std::gcd(stride_, total_) != 1) stride_ += 2;
  }
  CatchFaults();

  const uint64_t workers = options_.checked != 0 ? 1 : std::min<uint64_t>(dispatch_.executor->workers, total_);
  shares_ = workers * 4;
  if (workers == 1) {
    Work();
  } else {
    dispatch_.executor->parallel(
        dispatch_.executor->self, workers,
        [](void *self, uint64_t, uint32_t) { static_cast<Dispatch *>(self)->Work(); }, this);
  }
  if (served_.load() == 0) return name + "no memory for the stacks of " + std::to_string(threads_) + " threads";
  std::string text = error_.empty() ? std::string() : name + error_;
  stats_.failure = error_.empty() ? SM_FAILURE_NONE : error_kind_;
  if (checked_ == nullptr) return text;
  std::string report = checked_->Finish();
  if (report.empty()) return text;
  stats_.failure = SM_FAILURE_FINDING;
  return text.empty() ? report : report + "\n" + text;
}

void Dispatch::Work() {
  if (next_.load() >= total_) return;
  const ContextPool::Lease context = ContextPool::Shared().Take(threads_);
  if (!context) return;  // whoever has one does the work
  served_.fetch_add(1);
  context->Enter(*this);  // first: the watchdog sends signals to the thread that did
  if (deadline_ > 0 && !Watchdog::Shared().Watch(context.get(), deadline_)) {
    context->Leave();
    Fail(0, SM_FAILURE_OTHER, "no thread to keep the time limit");
    return;
  }
  uint64_t begin = 0;
  for (bool good = true; good;) {
    const uint64_t count = Claim(begin);
    if (count == 0) break;
    for (uint64_t i = begin, end = begin + count; good && i < end; ++i) {
      const uint64_t threadgroup = Order(i);
      Outcome outcome;
      if (stop_.load(std::memory_order_relaxed)) break;
      if (context->expired.load(std::memory_order_relaxed)) {
        outcome.signal = kTimeSignal;
      } else {
        outcome = context->Run(threadgroup);
      }
      if (outcome.signal == 0) continue;
      good = false;
      if (checked_ != nullptr && outcome.lane != nullptr) checked_->checker()->OnFault(outcome.lane->index);
      Fail(threadgroup, Kind(outcome, *context), Describe(outcome, *context));
    }
    good = good && !stop_.load(std::memory_order_relaxed);
  }
  if (deadline_ > 0) Watchdog::Shared().Release(context.get());
  context->Leave();
  const std::lock_guard lock(mutex_);
  stats_.collectives += context->stats().collectives;
  stats_.divergent += context->stats().divergent;
  stats_.barriers += context->stats().barriers;
  stats_.switches += context->stats().switches;
}

/// The next threadgroups for one worker: many while many are left, so that workers seldom meet, and single ones at the
/// end, so that none is left waiting for another.
uint64_t Dispatch::Claim(uint64_t &begin) {
  begin = next_.load(std::memory_order_relaxed);
  while (begin < total_) {
    const uint64_t count = std::clamp<uint64_t>((total_ - begin) / shares_, 1, 64);
    if (next_.compare_exchange_weak(begin, begin + count)) return count;
  }
  return 0;
}

void Dispatch::Fail(uint64_t threadgroup, uint32_t kind, std::string text) {
  stop_.store(true);
  const std::lock_guard lock(mutex_);
  if (!error_.empty() && error_threadgroup_ <= threadgroup) return;
  error_ = std::move(text);
  error_kind_ = kind;
  error_threadgroup_ = threadgroup;
}

uint64_t Dispatch::Order(uint64_t n) const {
  switch (options_.order) {
    case SM_ORDER_FORWARD:
      return n;
    case SM_ORDER_REVERSE:
      return total_ - 1 - n;
    default:
      return static_cast<uint64_t>(static_cast<unsigned __int128>(n) * stride_ % total_);
  }
}

void Dispatch::Bind(char *arena, Threadgroup &group) const {
  for (uint32_t i = 0; i < kSlots; ++i) {
    group.buffers[i] = dispatch_.buffers[i].data;
    group.memory[i] = arena + arena_offsets_[i];
  }
  group.statics = arena;
  if (checked_ != nullptr) checked_->Bind(group);
}

void Dispatch::Poison(const Threadgroup &group) const {
  if (checked_ != nullptr) {
    checked_->Poison();
  } else if (arena_bytes_ > 0) {
    std::memset(group.statics, 0xff, arena_bytes_);
  }
}

uint32_t Dispatch::Kind(const Outcome &outcome, const Context &context) const {
  switch (outcome.signal) {
    case kTimeSignal:
      return SM_FAILURE_TIME;
    case SIGSEGV:
    case SIGBUS:
      return context.IsStackGuard(outcome.address) ? SM_FAILURE_STACK : SM_FAILURE_MEMORY;
    default:
      return SM_FAILURE_OTHER;
  }
}

std::string Dispatch::Describe(const Outcome &outcome, const Context &context) const {
  std::string where;
  if (outcome.lane != nullptr) {
    where = ", in thread " + Triple(outcome.lane->position) + " of threadgroup " + Triple(context.group().position);
  }
  switch (outcome.signal) {
    case Outcome::kStoppedByChecks:
      return "stopped at an access that is not possible";
    case kTimeSignal: {
      std::string limit = std::to_string(options_.time_limit);
      limit.erase(limit.find_last_not_of('0') + 1);
      if (limit.back() == '.') limit.pop_back();
      return "time limit of " + limit + " s exceeded" + where;
    }
    case SIGFPE:
      return "integer division by zero, or of the least integer by -1" + where;
    case SIGSEGV:
    case SIGBUS:
      return DescribeAddress(outcome, context) + where;
    default:
      return "the kernel's code stopped itself (signal " + std::to_string(outcome.signal) + ")" + where;
  }
}

std::string Dispatch::DescribeAddress(const Outcome &outcome, const Context &context) const {
  constexpr uint64_t near = uint64_t{16} << 20, null_page = 65536;
  const uint64_t address = outcome.address;
  if (context.IsStackGuard(address)) {
    return "stack overflow: a thread has " + std::to_string(Context::kUsableStackBytes >> 10) +
           " KiB for its variables";
  }
#if defined(__linux__) && defined(__x86_64__)
  if (outcome.code == SI_KERNEL) return "memory fault at an address that is misaligned, or that no memory has";
#endif
  char number[32];
  std::snprintf(number, sizeof number, "0x%llx", static_cast<unsigned long long>(address));
  std::string text = std::string("memory fault at address ") + number;
  if (context.IsNearThreadgroupMemory(address)) return text + ", outside threadgroup memory";
  uint64_t best = near;
  std::string place;
  for (uint32_t i = 0; i < SM_BUFFER_SLOTS; ++i) {
    const sm_binding &buffer = dispatch_.buffers[i];
    if (buffer.data == nullptr) continue;
    const auto begin = reinterpret_cast<uint64_t>(buffer.data), end = begin + buffer.bytes;
    const bool after = address >= end, inside = !after && address >= begin;
    const uint64_t distance = inside ? 0 : after ? address - end : begin - address;
    if (distance >= best) continue;
    best = distance;
    place =
        inside ? ", inside buffer("
               : ", " + std::to_string(distance) + (after ? " bytes past the end of buffer(" : " bytes before buffer(");
    place += std::to_string(i) + ")";
  }
  if (!place.empty()) return text + place;
  return address < null_page ? text + ", as of an argument without a buffer" : text;
}

}  // namespace softmetal
