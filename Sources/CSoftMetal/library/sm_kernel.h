// The kernel's entry, its arguments and its threadgroup variables.
#pragma once

/// Converts to what a pointer or reference parameter is of.
struct sm_pointer {
  void *address;
  template <typename T>
  SM_INLINE operator T *() const {
    return static_cast<T *>(address);
  }
};
struct sm_reference {
  void *address;
  template <typename T>
  SM_INLINE operator T &() const {
    return *static_cast<T *>(address);
  }
};
/// Converts to an integer of any width, and to vectors of them.
struct sm_number {
  uint32_t value;
  template <typename T, typename = metal::enable_if_t<metal::is_integral_v<T>>>
  SM_INLINE operator T() const {
    return static_cast<T>(value);
  }
};
struct sm_position {
  uint32_t x, y, z;
  template <typename T, typename = metal::enable_if_t<metal::is_integral_v<T>>>
  SM_INLINE operator T() const {
    return static_cast<T>(x);
  }
  template <typename T>
  SM_INLINE operator metal::vec<T, 2>() const {
    return metal::vec<T, 2>(x, y);
  }
  template <typename T>
  SM_INLINE operator metal::vec<T, 3>() const {
    return metal::vec<T, 3>(x, y, z);
  }
};

struct sm_arguments {
  const softmetal::Lane &lane;
  const softmetal::Threadgroup &group;

  SM_INLINE sm_pointer buffer(int slot) const { return {group.buffers[slot]}; }
  SM_INLINE sm_reference reference(int slot) const { return {group.buffers[slot]}; }
  SM_INLINE sm_pointer threadgroup(int slot) const { return {group.memory[slot]}; }
  SM_INLINE sm_reference threadgroup_reference(int slot) const { return {group.memory[slot]}; }

  SM_INLINE static sm_position triple(const uint32_t (&v)[3]) { return {v[0], v[1], v[2]}; }
  SM_INLINE sm_position thread_position_in_grid() const {
    return {group.position[0] * group.full_size[0] + lane.position[0],
            group.position[1] * group.full_size[1] + lane.position[1],
            group.position[2] * group.full_size[2] + lane.position[2]};
  }
  SM_INLINE sm_position threads_per_grid() const { return triple(group.grid); }
  SM_INLINE sm_position thread_position_in_threadgroup() const { return triple(lane.position); }
  SM_INLINE sm_position threads_per_threadgroup() const { return triple(group.size); }
  SM_INLINE sm_position dispatch_threads_per_threadgroup() const { return triple(group.full_size); }
  SM_INLINE sm_position threadgroup_position_in_grid() const { return triple(group.position); }
  SM_INLINE sm_position threadgroups_per_grid() const { return triple(group.groups); }
  SM_INLINE sm_position grid_origin() const { return {0, 0, 0}; }
  SM_INLINE sm_position grid_size() const { return triple(group.grid); }

  SM_INLINE sm_number thread_index_in_threadgroup() const { return {lane.index}; }
  SM_INLINE sm_number thread_index_in_simdgroup() const { return {lane.id}; }
  SM_INLINE sm_number simdgroup_index_in_threadgroup() const { return {lane.index / 32}; }
  SM_INLINE sm_number threads_per_simdgroup() const { return {32}; }
  SM_INLINE sm_number thread_execution_width() const { return {32}; }
  SM_INLINE sm_number simdgroups_per_threadgroup() const { return {group.simdgroups}; }
  SM_INLINE sm_number dispatch_simdgroups_per_threadgroup() const { return {group.full_simdgroups}; }
  SM_INLINE sm_number thread_index_in_quadgroup() const { return {lane.index % 4}; }
  SM_INLINE sm_number quadgroup_index_in_threadgroup() const { return {lane.index / 4}; }
  SM_INLINE sm_number quadgroups_per_threadgroup() const { return {quadgroups(group.size)}; }
  SM_INLINE sm_number dispatch_quadgroups_per_threadgroup() const { return {quadgroups(group.full_size)}; }
  SM_INLINE static uint32_t quadgroups(const uint32_t (&size)[3]) { return (size[0] * size[1] * size[2] + 3) / 4; }
};

/// Where a threadgroup variable lies. Those of code that is compiled at all find their places while the object is
/// loaded.
template <typename T, int Id>
struct sm_threadgroup_slot {
  static const uint64_t offset;
  static uint64_t reserve() {
    constexpr uint64_t align = alignof(T) < 16 ? 16 : alignof(T);
    const uint64_t at = (softmetal_module.static_bytes + align - 1) / align * align;
    softmetal_module.static_bytes = at + sizeof(T);
    return at;
  }
};
template <typename T, int Id>
const uint64_t sm_threadgroup_slot<T, Id>::offset = sm_threadgroup_slot<T, Id>::reserve();

template <typename T, int Id>
SM_STATIC T &sm_threadgroup() {
  char *statics = softmetal::CurrentLane()->simdgroup->threadgroup->statics;
  return *reinterpret_cast<T *>(statics + sm_threadgroup_slot<T, Id>::offset);
}

#define SM_KERNEL(host_name, most_threads, k)                                                          \
  static SM_INLINE void sm_body(const sm_arguments &k);                                                \
  static void sm_entry(const softmetal::Lane &lane) { sm_body({lane, *lane.simdgroup->threadgroup}); } \
  extern "C" softmetal::Module softmetal_module = {                                                    \
      softmetal::kModuleABI, most_threads, host_name, sm_entry, nullptr, 0, SM_LOCKSTEP, SM_CHECKED};  \
  static SM_INLINE void sm_body([[maybe_unused]] const sm_arguments &k)
