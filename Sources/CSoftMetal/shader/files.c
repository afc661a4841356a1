// Embeds the device library. A file is added in two places here: its text and its row.
#include "softmetal_shader.h"

// #embed is C23; every clang that builds Swift 6.3 has it.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const char metal_stdlib[] = {
#embed "../library/metal_stdlib.h" suffix(, 0)
};
static const char softmetal_device_h[] = {
#embed "../library/softmetal_device.h" suffix(, 0)
};
static const char softmetal_checked_h[] = {
#embed "../library/softmetal_checked.h" suffix(, 0)
};
static const char softmetal_probe_h[] = {
#embed "../library/probe/softmetal_probe.h" suffix(, 0)
};
static const char sm_array_h[] = {
#embed "../library/sm_array.h" suffix(, 0)
};
static const char sm_atomic_h[] = {
#embed "../library/sm_atomic.h" suffix(, 0)
};
static const char sm_builtins_h[] = {
#embed "../library/sm_builtins.h" suffix(, 0)
};
static const char sm_geometry_h[] = {
#embed "../library/sm_geometry.h" suffix(, 0)
};
static const char sm_host_h[] = {
#embed "../library/sm_host.h" suffix(, 0)
};
static const char sm_integer_h[] = {
#embed "../library/sm_integer.h" suffix(, 0)
};
static const char sm_kernel_h[] = {
#embed "../library/sm_kernel.h" suffix(, 0)
};
static const char sm_lane_h[] = {
#embed "../library/sm_lane.h" suffix(, 0)
};
static const char sm_limits_h[] = {
#embed "../library/sm_limits.h" suffix(, 0)
};
static const char sm_logging_h[] = {
#embed "../library/sm_logging.h" suffix(, 0)
};
static const char sm_math_h[] = {
#embed "../library/sm_math.h" suffix(, 0)
};
static const char sm_matrix_h[] = {
#embed "../library/sm_matrix.h" suffix(, 0)
};
static const char sm_operators_h[] = {
#embed "../library/sm_operators.h" suffix(, 0)
};
static const char sm_packing_h[] = {
#embed "../library/sm_packing.h" suffix(, 0)
};
static const char sm_quad_h[] = {
#embed "../library/sm_quad.h" suffix(, 0)
};
static const char sm_rendezvous_h[] = {
#embed "../library/sm_rendezvous.h" suffix(, 0)
};
static const char sm_simd_h[] = {
#embed "../library/sm_simd.h" suffix(, 0)
};
static const char sm_simdgroup_matrix_h[] = {
#embed "../library/sm_simdgroup_matrix.h" suffix(, 0)
};
static const char sm_types_h[] = {
#embed "../library/sm_types.h" suffix(, 0)
};
static const char sm_vector_h[] = {
#embed "../library/sm_vector.h" suffix(, 0)
};

// clang-format off: one row each
static const sm_shader_file files[] = {
    {"softmetal_device.h", softmetal_device_h},
    {"softmetal_checked.h", softmetal_checked_h},
    {"softmetal_probe.h", softmetal_probe_h},
    {"sm_array.h", sm_array_h},
    {"sm_atomic.h", sm_atomic_h},
    {"sm_builtins.h", sm_builtins_h},
    {"sm_geometry.h", sm_geometry_h},
    {"sm_host.h", sm_host_h},
    {"sm_integer.h", sm_integer_h},
    {"sm_kernel.h", sm_kernel_h},
    {"sm_lane.h", sm_lane_h},
    {"sm_limits.h", sm_limits_h},
    {"sm_logging.h", sm_logging_h},
    {"sm_math.h", sm_math_h},
    {"sm_matrix.h", sm_matrix_h},
    {"sm_operators.h", sm_operators_h},
    {"sm_packing.h", sm_packing_h},
    {"sm_quad.h", sm_quad_h},
    {"sm_rendezvous.h", sm_rendezvous_h},
    {"sm_simd.h", sm_simd_h},
    {"sm_simdgroup_matrix.h", sm_simdgroup_matrix_h},
    {"sm_types.h", sm_types_h},
    {"sm_vector.h", sm_vector_h},
    // Whatever header of Metal a shader names, it gets all macros.
    {"metal_stdlib", metal_stdlib},
    {"metal_array", metal_stdlib},
    {"metal_atomic", metal_stdlib},
    {"metal_common", metal_stdlib},
    {"metal_compute", metal_stdlib},
    {"metal_config", metal_stdlib},
    {"metal_extended_vector", metal_stdlib},
    {"metal_geometric", metal_stdlib},
    {"metal_integer", metal_stdlib},
    {"metal_limits", metal_stdlib},
    {"metal_logging", metal_stdlib},
    {"metal_math", metal_stdlib},
    {"metal_matrix", metal_stdlib},
    {"metal_numeric", metal_stdlib},
    {"metal_packing", metal_stdlib},
    {"metal_quadgroup", metal_stdlib},
    {"metal_relational", metal_stdlib},
    {"metal_simdgroup", metal_stdlib},
    {"metal_simdgroup_matrix", metal_stdlib},
    {"metal_type_traits", metal_stdlib},
    {"metal_types", metal_stdlib},
    {"metal_uniform", metal_stdlib},
    {"metal_vector_types", metal_stdlib},
};
// clang-format on

const sm_shader_file *sm_shader_files(uint32_t *count) {
  *count = sizeof files / sizeof files[0];
  return files;
}
