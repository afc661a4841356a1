/// The built-in inputs of kernels, and what Metal allows their types to be.
enum BuiltInInputs {
  /// May be scalars or vectors of up to three; all vectors of a kernel have the same width.
  static let positions: Set = [
    "thread_position_in_grid", "threads_per_grid", "thread_position_in_threadgroup", "threads_per_threadgroup",
    "dispatch_threads_per_threadgroup", "threadgroup_position_in_grid", "threadgroups_per_grid", "grid_origin",
    "grid_size",
  ]

  /// Counts and indices of simdgroups and quadgroups; all of a kernel have the same type.
  static let groups: Set = [
    "thread_index_in_simdgroup", "simdgroup_index_in_threadgroup", "threads_per_simdgroup",
    "simdgroups_per_threadgroup",
    "dispatch_simdgroups_per_threadgroup", "thread_index_in_quadgroup", "quadgroup_index_in_threadgroup",
    "quadgroups_per_threadgroup", "dispatch_quadgroups_per_threadgroup", "thread_execution_width",
  ]

  static let indexInThreadgroup = "thread_index_in_threadgroup"

  /// Only drawing has them, or what else SoftMetal does not do.
  static let unsupported: Set = [
    "stage_in", "vertex_id", "instance_id", "base_vertex", "base_instance", "position", "front_facing", "point_coord",
    "sample_id", "sample_mask", "primitive_id", "barycentric_coord", "color", "patch_id", "position_in_patch",
    "payload", "mesh", "object_data", "imageblock_data", "texture", "sampler", "intersection_function_table",
    "raster_order_group", "viewport_array_index", "render_target_array_index", "amplification_id",
    "amplification_count", "mesh_grid_properties", "thread_position_in_object",
  ]

  static func contains(_ name: String) -> Bool {
    positions.contains(name) || groups.contains(name) || name == indexInThreadgroup
  }

  private static let scalars: Set = ["ushort", "uint"]
  private static let vectors = ["ushort2": 2, "ushort3": 3, "uint2": 2, "uint3": 3]

  /// What is wrong with the type of an input; `type` is nil if it depends on something unknown.
  static func complaint(_ name: String, type: String?) -> String? {
    guard let type else { return nil }
    let isVector = positions.contains(name) && vectors[type] != nil
    if isVector || scalars.contains(type) { return nil }
    let allowed =
      positions.contains(name) ? "ushort, ushort2, ushort3, uint, uint2 or uint3" : "ushort or uint"
    return "type '\(type)' is not valid for attribute '\(name)': expected \(allowed)"
  }

  /// What is wrong between the inputs of one kernel, and which of them is at fault.
  static func inconsistency(_ inputs: [(name: String, type: String)]) -> (input: Int, message: String)? {
    var width: (input: Int, count: Int)?
    var group: Int?
    var first: [String: Int] = [:]
    for (index, input) in inputs.enumerated() {
      if let count = vectors[input.type] {
        if let width, width.count != count {
          return (index, "'\(input.name)' has \(count) components but '\(inputs[width.input].name)' has \(width.count)")
        }
        width = width ?? (index, count)
      }
      if groups.contains(input.name) {
        if let group, inputs[group].type != input.type {
          return (
            index, "'\(input.name)' is a \(input.type) but '\(inputs[group].name)' is a \(inputs[group].type)"
          )
        }
        group = group ?? index
      }
      first[input.name] = first[input.name] ?? index
    }
    for family in sameType {
      let members = family.compactMap { first[$0] }.sorted()
      for member in members.dropFirst() where inputs[member].type != inputs[members[0]].type {
        let other = inputs[members[0]]
        return (member, "'\(inputs[member].name)' is a \(inputs[member].type) but '\(other.name)' is a \(other.type)")
      }
    }
    if let position = first["thread_position_in_threadgroup"], inputs[position].type.hasPrefix("uint"),
      let index = first[indexInThreadgroup], inputs[index].type != "uint"
    {
      return (index, "'\(indexInThreadgroup)' must be a uint where 'thread_position_in_threadgroup' is of uint type")
    }
    return nil
  }

  private static let sameType = [
    ["thread_position_in_grid", "threads_per_grid"],
    ["thread_position_in_threadgroup", "threads_per_threadgroup", "dispatch_threads_per_threadgroup"],
  ]
}
