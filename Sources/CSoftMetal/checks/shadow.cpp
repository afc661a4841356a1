#include "shadow.h"

#include <new>

#include "checks.h"

namespace softmetal::checks {
namespace {

constexpr uint64_t kGranule = 8;

/// Accesses a byte's list may hold before those that only the program's order puts before a later one are left out.
/// Keeping them costs time and gains nothing but more lines in a report.
constexpr uint32_t kLongList = 12;

bool PlainWrite(const Access &access) { return (access.kind & (kCheckWrite | kCheckAtomic)) == kCheckWrite; }

bool Collide(const Access &a, const Access &b) {
  return ((a.kind | b.kind) & kCheckWrite) != 0 && (a.kind & b.kind & kCheckAtomic) == 0;
}

/// Whether `now` collides with everything that `earlier` collides with.
bool Dominates(const Access &now, const Access &earlier) {
  if (PlainWrite(now)) return true;
  if (PlainWrite(earlier)) return false;
  if ((now.kind & kCheckAtomic) == 0) return (earlier.kind & kCheckWrite) == 0;
  return (earlier.kind & kCheckAtomic) != 0 && ((now.kind & kCheckWrite) != 0 || (earlier.kind & kCheckWrite) == 0);
}

bool SameDeed(const Access &a, const Access &b) { return a.site == b.site && a.kind == b.kind && a.mask == b.mask; }

uint64_t LoadBytes(const uint8_t *data, uint8_t mask) {
  uint64_t value = 0;
  for (uint32_t i = 0; i < kGranule; i++)
    if (mask >> i & 1) value |= uint64_t{data[i]} << (8 * i);
  return value;
}

uint64_t Spread(uint8_t mask) {
  uint64_t bits = 0;
  for (uint32_t i = 0; i < kGranule; i++)
    if (mask >> i & 1) bits |= uint64_t{0xff} << (8 * i);
  return bits;
}

}  // namespace

bool Shadow::SameSimdgroup(const Access &a, const Access &b) const {
  return a.threadgroup == b.threadgroup && a.lane / simd_width_ == b.lane / simd_width_;
}

Shadow::Order Shadow::OrderOf(const Access &earlier, const Access &now, const Knowledge *knowledge) const {
  if (earlier.threadgroup == now.threadgroup) {
    if (earlier.barrier < now.barrier) return Order::kBarrier;
    if (SameSimdgroup(earlier, now) && earlier.simd_barrier < now.simd_barrier) return Order::kBarrier;
    if (earlier.lane == now.lane && earlier.last_lane == now.lane) return Order::kProgram;
  }
  if (knowledge == nullptr || knowledge->Empty()) return Order::kNone;
  for (uint32_t lane : {earlier.lane, earlier.last_lane}) {
    bool own = earlier.threadgroup == now.threadgroup && lane == now.lane;
    if (!own && !knowledge->Has(earlier.threadgroup, earlier.barrier, lane / simd_width_, earlier.simd_barrier, lane,
                                earlier.fence))
      return Order::kNone;
  }
  return Order::kBarrier;
}

/// Whether `now` is one more lane of what `earlier` stands for.
bool Shadow::Joins(const Access &now, const Access &earlier) const {
  if (!SameDeed(now, earlier) || !SameSimdgroup(now, earlier) || now.barrier != earlier.barrier ||
      now.simd_barrier != earlier.simd_barrier)
    return false;
  return !keep_all_ || (now.fence == earlier.fence && now.lane == earlier.lane && now.lane == earlier.last_lane);
}

uint32_t Shadow::Take() {
  if (free_ != 0) {
    uint32_t index = free_;
    free_ = At(index).next;
    return index;
  }
  if (used_ / kBlock >= blocks_.size()) {
    if (blocks_.size() >= UINT32_MAX / kBlock || BytesUsed() + kBlock * sizeof(Access) > limit_) return 0;
    std::unique_ptr<Access[]> block(new (std::nothrow) Access[kBlock]);
    if (block == nullptr) return 0;
    blocks_.push_back(std::move(block));
  }
  return used_++;
}

void Shadow::Release(uint32_t index) {
  At(index).next = free_;
  free_ = index;
}

uint64_t Shadow::BytesUsed() const { return blocks_.size() * kBlock * sizeof(Access) + pages_.size() * sizeof(Page); }

Shadow::Page *Shadow::FindPage(uint64_t number) {
  if (number == last_number_) return last_page_;
  auto found = pages_.find(number);
  if (found == pages_.end()) {
    if (BytesUsed() + sizeof(Page) > limit_) return nullptr;
    found = pages_.emplace(number, std::make_unique<Page>()).first;
  }
  last_number_ = number;
  last_page_ = found->second.get();
  return last_page_;
}

bool Shadow::Record(uint64_t address, uint64_t bytes, const uint8_t *data, Access now, const Knowledge *knowledge) {
  Settle();
  uint64_t end = address + bytes;
  for (uint64_t granule = address & ~(kGranule - 1); granule < end; granule += kGranule) {
    uint64_t first = granule < address ? address - granule : 0;
    uint64_t last = end - granule < kGranule ? end - granule : kGranule;
    now.mask = static_cast<uint8_t>((0xffu << first) & (0xffu >> (kGranule - last)));
    Page *page = FindPage(granule / kGranule / kPageGranules);
    if (page == nullptr) return false;
    uint32_t *head = &page->heads[granule / kGranule % kPageGranules];
    const uint8_t *first_byte = granule < address ? data - first : data + (granule - address);
    if (!Touch(head, granule, first_byte, now, knowledge)) return false;
  }
  return true;
}

bool Shadow::Touch(uint32_t *head, uint64_t address, const uint8_t *data, const Access &now,
                   const Knowledge *knowledge) {
  uint32_t joined = 0;   // the entry that `now` became part of
  uint32_t length = 0;   // entries of the same bytes
  uint32_t alike = 0;    // entries of other simdgroups that tell what `now` would
  bool foreign = false;  // an entry of an earlier threadgroup that tells what the others of its kind would
  for (uint32_t *link = head; *link != 0;) {
    uint32_t index = *link;
    Access &earlier = At(index);
    uint8_t common = earlier.mask & now.mask;
    if (common == 0) {
      link = &earlier.next;
      continue;
    }
    length++;
    Order order = OrderOf(earlier, now, knowledge);
    if (order == Order::kNone && Collide(earlier, now)) {
      if (PlainWrite(earlier) && PlainWrite(now))
        suspects_.push_back({earlier, address, common});
      else
        collision_(earlier, now, address, common);
    }
    if (joined == 0 && Joins(now, earlier)) {
      joined = index;
      if (earlier.lane == earlier.last_lane) earlier.last_lane = now.lane;
      link = &earlier.next;
      continue;
    }
    bool covered = order != Order::kNone && Dominates(now, earlier) &&
                   (order == Order::kBarrier || earlier.site == now.site || length > kLongList);
    if (covered) earlier.mask &= ~now.mask;
    if (!keep_all_ && earlier.mask != 0 && SameDeed(earlier, now)) {
      // Any access of this or a later threadgroup collides with the one entry as it does with the others.
      if (earlier.threadgroup != now.threadgroup) {
        if (foreign) earlier.mask = 0;
        foreign = true;
      } else if (earlier.barrier == now.barrier && !SameSimdgroup(earlier, now)) {
        alike++;
      }
    }
    if (earlier.mask == 0) {
      *link = earlier.next;
      Release(index);
    } else {
      link = &earlier.next;
    }
  }
  bool enough = joined == 0 && alike >= 2;
  if (joined == 0 && !enough) {
    joined = Take();
    if (joined == 0) return false;
    Access &entry = At(joined);
    entry = now;
    entry.last_lane = now.lane;
    entry.next = *head;
    *head = joined;
  }
  if (PlainWrite(now)) written_.push_back({joined, address, data, now});
  return true;
}

void Shadow::SettleWrites() {
  std::vector<Suspect> suspects;
  suspects.swap(suspects_);
  for (const Written &written : written_) {
    uint64_t value = LoadBytes(written.data, written.access.mask);
    for (const Suspect &suspect : suspects) {
      if (suspect.address != written.address) continue;
      if (((suspect.earlier.value ^ value) & Spread(suspect.mask)) != 0)
        collision_(suspect.earlier, written.access, suspect.address, suspect.mask);
    }
    if (written.index != 0) At(written.index).value = value;
  }
  written_.clear();
}

void Shadow::Clear() {
  Settle();
  for (auto &page : pages_) *page.second = Page();
  used_ = 1;
  free_ = 0;
}

void Shadow::Free() {
  Abandon();
  pages_.clear();
  blocks_.clear();
  last_number_ = UINT64_MAX;
  last_page_ = nullptr;
  used_ = 1;
  free_ = 0;
}

void Shadow::Clear(uint64_t address, uint64_t bytes) {
  Settle();
  uint64_t end = address + bytes;
  for (auto &[number, page] : pages_) {
    uint64_t base = number * kPageGranules * kGranule;
    if (base >= end || base + kPageGranules * kGranule <= address) continue;
    for (uint32_t i = 0; i < kPageGranules; i++) {
      uint64_t granule = base + i * kGranule;
      if (granule + kGranule <= address || granule >= end) continue;
      for (uint32_t *link = &page->heads[i]; *link != 0;) {
        uint32_t index = *link;
        Access &entry = At(index);
        for (uint32_t byte = 0; byte < kGranule; byte++)
          if (granule + byte >= address && granule + byte < end) entry.mask &= ~(1u << byte);
        if (entry.mask != 0) {
          link = &entry.next;
        } else {
          *link = entry.next;
          Release(index);
        }
      }
    }
  }
}

}  // namespace softmetal::checks
