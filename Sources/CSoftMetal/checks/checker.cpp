#include <algorithm>
#include <cstdlib>

#include "checks.h"
#include "findings.h"
#include "memory_order.h"
#include "regions.h"
#include "shadow.h"

namespace softmetal {

using namespace checks;

namespace {

/// What a compiler's `'name' (aka 'float[32]')` stands for.
std::string PlainType(const std::string &type) {
  const std::string also = " (aka ";
  size_t at = type.find(also);
  if (at == std::string::npos || type.back() != ')') return type;
  return type.substr(at + also.size(), type.size() - at - also.size() - 1);
}

/// How far an index is from those that an array of such a type has.
uint64_t Distance(int64_t index, const std::string &type) {
  if (index < 0) return ~static_cast<uint64_t>(index) + 1;
  size_t bracket = type.find('[');
  uint64_t length = bracket == std::string::npos ? 0 : std::strtoull(type.c_str() + bracket + 1, nullptr, 10);
  return static_cast<uint64_t>(index) - std::min(length, static_cast<uint64_t>(index));
}

/// A private array may be missed by that much. What is farther away may not be the thread's own, and nobody watches
/// the accesses to private memory.
constexpr uint64_t kFarthestMiss = 1024;

}  // namespace

struct CheckHistory::State {
  Shadow device;
  Sites sites;
  Roster roster;
  AtomicObjects objects;
  uint32_t fences = 0;

  void Clear() {
    device.Free();
    sites.Clear();
    roster.Clear();
    objects.clear();
  }
};

CheckHistory::CheckHistory() : state_(std::make_unique<State>()) {}
CheckHistory::~CheckHistory() = default;
void CheckHistory::Barrier() { state_->Clear(); }
void CheckHistory::Barrier(const void *host, uint64_t bytes) {
  state_->device.Clear(reinterpret_cast<uintptr_t>(host), bytes);
}

struct Checker::State {
  CheckerConfig config;
  std::unique_ptr<CheckHistory> own;  // if none was given
  CheckHistory::State &history;
  Regions regions;
  uint32_t lanes;
  MemoryOrder device_order, threadgroup_order;
  Shadow threadgroup;
  AtomicObjects threadgroup_objects;
  FindingLog findings;
  std::vector<Finding> sorted;
  uint32_t current = 0;  // serial number of the threadgroup
  struct {
    uint32_t lane = 0;
    const void *address = nullptr;
    uint64_t bytes = 0;
    const void *pc = nullptr;
  } last;

  static uint32_t LaneCount(const CheckerConfig &config) {
    return std::max(1u, config.threads[0] * config.threads[1] * config.threads[2]);
  }

  State(CheckerConfig given, std::unique_ptr<CheckHistory> made, CheckHistory::State &used)
      : config(std::move(given)),
        own(std::move(made)),
        history(used),
        regions(config),
        lanes(LaneCount(config)),
        device_order(lanes, config.simd_width),
        threadgroup_order(lanes, config.simd_width),
        findings(&history.sites, &history.roster) {
    history.sites.Enter(config.entry, config.line_of);
    history.roster.StartDispatch(config.kernel);
    // A kernel reads its own constants, and the table of the functions that the host has for it.
    static const char own = 0;
    for (const void *address : {config.entry, static_cast<const void *>(&own)}) {
      Image image = ImageOf(address);
      if (image.bytes != 0) regions.Ignore(image.base, image.bytes);
    }
    uint64_t for_threadgroup = config.shadow_limit / 4;
    threadgroup.Start(config.simd_width, for_threadgroup, Collision(true));
    history.device.Start(config.simd_width, config.shadow_limit - for_threadgroup, Collision(false));
  }

  Shadow::Collision Collision(bool in_threadgroup) {
    return [this, in_threadgroup](const Access &earlier, const Access &later, uint64_t address, uint8_t mask) {
      OnCollision(earlier, later, address + static_cast<uint64_t>(__builtin_ctz(mask)), in_threadgroup);
    };
  }

  void OnCollision(const Access &earlier, const Access &later, uint64_t address, bool in_threadgroup) {
    using Relation = FindingLog::Relation;
    auto simdgroup = [this](const Access &access) { return access.lane / config.simd_width; };
    Relation relation = Relation::kSimdgroup;
    if (earlier.threadgroup != later.threadgroup)
      relation = history.roster.IsEarlier(earlier.threadgroup) ? Relation::kEncoder : Relation::kDispatch;
    else if (simdgroup(earlier) != simdgroup(later))
      relation = Relation::kThreadgroup;
    bool same_group = earlier.threadgroup == later.threadgroup;
    uint32_t lane = same_group && earlier.lane == later.lane ? earlier.last_lane : earlier.lane;
    FindingLog::Party a = {earlier.site, earlier.kind, {lane, earlier.threadgroup}};
    FindingLog::Party b = {later.site, later.kind, {later.lane, later.threadgroup}};
    findings.AddRace(a, b, relation, in_threadgroup, [&] { return Place(address, in_threadgroup); });
  }

  /// Where a byte lies; of the address in the shadow.
  std::string Place(uint64_t address, bool in_threadgroup) {
    const Region *region = regions.FindShadowed(address, in_threadgroup);
    if (region == nullptr) return "a byte that is no longer bound";
    std::string text = "byte " + std::to_string(address - region->host);
    if (!in_threadgroup || region->slot >= 0 || !region->name.empty()) text += " of " + region->Name();
    return text;
  }

  FindingLog::Party Party(uint32_t lane, uint32_t kind, const void *pc) {
    return {history.sites.Number(pc), kind & (kCheckWrite | kCheckAtomic), {lane, current}};
  }

  void Settle() {
    threadgroup.Settle();
    history.device.Settle();
  }

  /// False if nothing can be done about it.
  bool OutOfBounds(uint32_t lane, uint64_t address, const void *pointer, uint64_t bytes, uint32_t kind,
                   const void *pc) {
    const char *head = kind & kCheckWrite ? "out-of-bounds write" : "out-of-bounds read";
    findings.AddMistake(FindingKind::kBounds, head, Party(lane, kind, pc), [&] {
      std::string text = std::to_string(bytes) + (bytes == 1 ? " byte at " : " bytes at ");
      const Region *region = regions.Nearest(address);
      if (region != nullptr) {
        int64_t offset = static_cast<int64_t>(address - region->base);
        text += "offset " + std::to_string(offset) + " of " + region->Name() + ", which " +
                (region->threadgroup && region->slot < 0 && region->name.empty() ? "have " : "has ") +
                std::to_string(region->bytes) + (region->bytes == 1 ? " byte" : " bytes");
      } else if (address < kNullPage) {
        text += "offset " + std::to_string(address) + " of a null pointer or of a buffer that is not bound";
      } else {
        text += "an address that lies in nothing bound";
      }
      return text;
    });
    return config.memory != nullptr && config.memory->Absorb(pointer, bytes);
  }

  static constexpr uint64_t kNullPage = 4096;
};

Checker::Checker(CheckerConfig config, CheckHistory *history) {
  std::unique_ptr<CheckHistory> own;
  if (history == nullptr) {
    own = std::make_unique<CheckHistory>();
    history = own.get();
  }
  state_ = std::make_unique<State>(std::move(config), std::move(own), *history->state_);
}

Checker::~Checker() {
  // A dispatch that ended in the middle may leave a write behind that was not executed, and its memory may be gone.
  state_->history.device.Abandon();
}

void Checker::OnThreadgroupStart(uint32_t x, uint32_t y, uint32_t z) {
  State &s = *state_;
  s.Settle();
  s.current = s.history.roster.Add(x, y, z);
  s.threadgroup.Clear();
  s.threadgroup_objects.clear();
  s.regions.ForgetThreadgroup();
  s.device_order.StartThreadgroup(s.current);
  s.threadgroup_order.StartThreadgroup(s.current);
}

void Checker::OnThreadgroupEnd() { state_->Settle(); }

bool Checker::OnAccess(uint32_t lane, const void *address, uint64_t bytes, uint32_t kind, const void *pc) {
  State &s = *state_;
  s.Settle();
  if (lane >= s.lanes || bytes == 0) return true;
  uint64_t at = reinterpret_cast<uintptr_t>(address);
  const Region *region = s.regions.Find(at, bytes);
  if (region == nullptr) return s.regions.Ignored(at, bytes) || s.OutOfBounds(lane, at, address, bytes, kind, pc);

  bool writes = (kind & kCheckWrite) != 0, reads = !writes || (kind & kCheckUpdate) != 0,
       atomic = (kind & kCheckAtomic) != 0;
  uint64_t unwritten;
  if (reads && region->FindUnwritten(at, bytes, &unwritten)) {
    s.findings.AddMistake(FindingKind::kUninitialised, "uninitialised read", s.Party(lane, kind, pc), [&] {
      return "byte " + std::to_string(unwritten) + " of " + region->Name() + " was never written" +
             (region->threadgroup ? " in this threadgroup" : "");
    });
  }
  if (writes) s.regions.MarkWritten(*region, at, bytes);
  uint64_t alignment = atomic ? bytes : (kind & kCheckAligned) != 0 ? std::min<uint64_t>(bytes, 8) : 1;
  if (at % alignment != 0) OnMisaligned(lane, address, alignment, pc);

  s.last = {lane, address, bytes, pc};
  MemoryOrder &order = region->threadgroup ? s.threadgroup_order : s.device_order;
  Shadow &shadow = region->threadgroup ? s.threadgroup : s.history.device;
  uint64_t shadowed = region->host + (at - region->base);
  if (atomic) {
    AtomicObjects &objects = region->threadgroup ? s.threadgroup_objects : s.history.objects;
    s.device_order.Atomic(lane, reads, writes, shadowed, &objects);
    s.threadgroup_order.Atomic(lane, reads, writes, shadowed, &objects);
  }
  Access access;
  access.site = s.history.sites.Number(pc);
  access.kind = static_cast<uint8_t>(kind & (kCheckWrite | kCheckAtomic));
  access.fence = s.history.fences;
  order.Stamp(lane, &access);
  if (!shadow.Record(shadowed, bytes, static_cast<const uint8_t *>(address), access, order.KnownTo(lane)))
    s.findings.AddNote("the check ran out of room (" + std::to_string(s.config.shadow_limit >> 20) +
                       " MiB): not all accesses were compared");
  return true;
}

void Checker::OnMisaligned(uint32_t lane, const void *address, uint64_t alignment, const void *pc) {
  State &s = *state_;
  s.Settle();
  uint64_t at = reinterpret_cast<uintptr_t>(address);
  s.findings.AddMistake(FindingKind::kMisaligned, "misaligned access", s.Party(lane, kCheckRead, pc), [&] {
    const Region *region = s.regions.Find(at, 1);
    if (region == nullptr) region = s.regions.Ignored(at, 1) ? nullptr : s.regions.Nearest(at);
    std::string place =
        region != nullptr ? "byte " + std::to_string(static_cast<int64_t>(at - region->base)) + " of " + region->Name()
                          : "an address in private memory";
    return place + " is not aligned to " + std::to_string(alignment) + " bytes";
  });
}

void Checker::OnFault(uint32_t lane) {
  State &s = *state_;
  s.threadgroup.Abandon();
  s.history.device.Abandon();
  constexpr uint64_t kVector = 16;
  if (s.last.lane == lane && s.last.bytes == kVector && reinterpret_cast<uintptr_t>(s.last.address) % kVector != 0)
    OnMisaligned(lane, s.last.address, kVector, s.last.pc);
}

bool Checker::OnIndex(uint32_t lane, int64_t index, const char *array_type, const void *pc) {
  State &s = *state_;
  s.Settle();
  std::string type = PlainType(array_type);
  s.findings.AddMistake(FindingKind::kIndex, "wrong index", s.Party(lane, kCheckRead, pc),
                        [&] { return std::to_string(index) + " is out of bounds of the type " + type; });
  return Distance(index, type) <= kFarthestMiss;
}

void Checker::OnFence(uint32_t lane, uint32_t flags, bool acquire, bool release) {
  State &s = *state_;
  s.Settle();
  if (lane >= s.lanes) return;
  if (release) s.history.fences++;
  if (flags & kMemDevice) {
    s.history.device.KeepAll();
    s.device_order.Fence(lane, acquire, release, s.history.fences);
  }
  if (flags & kMemThreadgroup) {
    s.threadgroup.KeepAll();
    s.threadgroup_order.Fence(lane, acquire, release, s.history.fences);
  }
}

void Checker::OnSimdgroupBarrier(uint32_t simdgroup, uint32_t flags) {
  State &s = *state_;
  s.Settle();
  if (flags & kMemDevice) s.device_order.SimdgroupBarrier(simdgroup);
  if (flags & kMemThreadgroup) s.threadgroup_order.SimdgroupBarrier(simdgroup);
}

void Checker::OnThreadgroupBarrier(uint32_t flags) {
  State &s = *state_;
  s.Settle();
  if (flags & kMemDevice) s.device_order.ThreadgroupBarrier();
  if (flags & kMemThreadgroup) s.threadgroup_order.ThreadgroupBarrier();
}

void Checker::OnLockstep(uint32_t simdgroup) {
  if (state_->config.lockstep) OnSimdgroupBarrier(simdgroup, kMemDevice | kMemThreadgroup);
}

const std::vector<Finding> &Checker::Findings() {
  state_->sorted = state_->findings.Sorted();
  return state_->sorted;
}

std::string Checker::Report() {
  std::string text;
  for (const Finding &finding : Findings()) {
    if (!text.empty()) text += "\n";
    text += "shader check: " + finding.text;
  }
  return text;
}

}  // namespace softmetal
