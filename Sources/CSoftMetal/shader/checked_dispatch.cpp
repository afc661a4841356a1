#include "checked_dispatch.h"

#include <cstring>

#include "../checks/history.h"

namespace softmetal {

std::unique_ptr<CheckedDispatch> CheckedDispatch::Create(const Dispatch &dispatch) {
  std::unique_ptr<CheckedDispatch> self(new CheckedDispatch);
  const sm_dispatch &d = dispatch.dispatch();
  for (uint32_t i = 0; i < kSlots; ++i) self->buffers_[i] = {d.buffers[i].data, d.buffers[i].bytes};

  // Variables of the kernel's body are one region, and each slot is one.
  auto add = [&](int32_t slot, uint64_t bytes) {
    if (bytes > 0) self->regions_.push_back({slot, {}, nullptr, bytes});
  };
  add(-1, dispatch.module().static_bytes);
  for (uint32_t i = 0; i < kSlots; ++i) add(static_cast<int32_t>(i), d.threadgroup_bytes[i]);
  std::vector<uint64_t> sizes;
  for (const ThreadgroupRegion &region : self->regions_) sizes.push_back(region.bytes);
  std::vector<void *> places(sizes.size());
  if (!self->memory_.Place(self->buffers_, kSlots, sizes.data(), static_cast<uint32_t>(sizes.size()), places.data())) {
    return nullptr;
  }
  for (size_t i = 0; i < places.size(); ++i) self->regions_[i].base = places[i];

  CheckerConfig config;
  config.kernel = dispatch.module().name;
  for (int i = 0; i < 3; ++i) config.threads[i] = d.threads[i];
  config.simd_width = kSimdWidth;
  config.lockstep = dispatch.module().lockstep != 0;
  for (uint32_t i = 0; i < kSlots; ++i) {
    if (d.buffers[i].data == nullptr) continue;
    CheckedBuffer buffer;
    buffer.slot = i;
    buffer.base = self->buffers_[i].data;
    buffer.bytes = d.buffers[i].bytes;
    buffer.host = d.buffers[i].data;
    if (dispatch.options().initialised != nullptr) buffer.initialised = dispatch.options().initialised[i];
    config.buffers.push_back(std::move(buffer));
  }
  config.threadgroup = self->regions_;
  config.entry = reinterpret_cast<const void *>(dispatch.module().entry);
  config.memory = &self->memory_;
  sm_check_history *history = dispatch.options().history;
  self->checker_.emplace(std::move(config), history != nullptr ? &history->history : nullptr);
  return self;
}

void CheckedDispatch::Bind(Threadgroup &group) const {
  for (uint32_t i = 0; i < kSlots; ++i) group.buffers[i] = buffers_[i].data;
  for (const ThreadgroupRegion &region : regions_) {
    char *&place = region.slot < 0 ? group.statics : group.memory[region.slot];
    place = static_cast<char *>(region.base);
  }
}

void CheckedDispatch::Poison() const {
  for (const ThreadgroupRegion &region : regions_) std::memset(region.base, 0xff, region.bytes);
}

std::string CheckedDispatch::Finish() {
  memory_.CopyBack();
  return checker_->Report();
}

}  // namespace softmetal
