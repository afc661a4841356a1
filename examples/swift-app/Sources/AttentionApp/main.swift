// Attention in an app: a prompt in one call, tokens one by one against a quantised cache, and a kernel encoded into the
// app's own command buffer. On Linux the same code runs on SoftMetal.
//
//   swift run --package-path examples/swift-app
import FlashAttn

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

let heads = 8
let kvHeads = 2
let headDim = 64
let prompt = 48

/// A prompt: every query in one call, over memory of the app.
func prefill(on device: Device, q: Tensor, k: Tensor, v: Tensor) throws -> Tensor {
  let out = Tensor(heads: heads, length: q.length, headDim: headDim)
  var attention = Attention(q: q.host, k: k.host, v: v.host, o: out.host)
  attention.causal = true
  try attention(on: device)
  return out
}

/// Decoding: the prompt's keys and values go to a cache of about 8 bits a number, then a token is appended and attended.
func decode(on device: Device, q: Tensor, k: Tensor, v: Tensor, next: (k: Tensor, v: Tensor)) throws -> Tensor {
  let cache = try KVCache(.init(kvHeads: kvHeads, headDim: headDim, capacity: 256, keys: .tq8), on: device)
  try cache.step(append: .init(keys: k.host, values: v.host))
  let out = Tensor(heads: heads, length: q.length, headDim: headDim)
  try cache.step(
    append: .init(keys: next.k.host, values: next.v.host), attend: .init(q: q.host, o: out.host))
  print("  cache: \(cache.ranges[0].count) tokens, \(cache.bytesPerToken) bytes each")
  return out
}

struct NoMemory: Error {}

/// An app that has a command buffer of its own, and buffers of its own, encodes into those and commits when it likes.
func encode(on device: Device, q: Tensor, k: Tensor, v: Tensor) throws -> Tensor {
  func upload(_ tensor: Tensor) throws -> Buffer {
    let bytes = UnsafeRawBufferPointer(tensor.values)
    guard let start = bytes.baseAddress,
      let buffer = device.metal.makeBuffer(bytes: start, length: bytes.count, options: [])
    else { throw NoMemory() }
    return try device.wrap(metal: buffer, .f32, tensor.shape)
  }
  guard let commandBuffer = device.queue.makeCommandBuffer() else { throw NoMemory() }
  let out = try device.makeBuffer(.f32, q.shape)

  var problem = FlashAttnPrefill.Problem(
    dtype: .f32, heads: heads, kvHeads: kvHeads, headDim: headDim, queryLength: q.length, keyLength: k.length)
  problem.causal = true
  let encoder = try CommandEncoder(device: device, commandBuffer: commandBuffer)
  try FlashAttnPrefill.encode(
    problem, .init(q: upload(q), k: upload(k), v: upload(v), o: out), into: encoder)
  try encoder.end()

  commandBuffer.commit()
  commandBuffer.waitUntilCompleted()
  let result = Tensor(heads: heads, length: q.length, headDim: headDim)
  try out.read(into: UnsafeMutableRawBufferPointer(result.values))
  return result
}

func show(_ name: String, _ found: Float, atMost limit: Float) -> Bool {
  print("\(name): differs from the definition by \(found)")
  return found <= limit
}

let device = try Device()
print("\(device.name), \(Device.backend)")

let q = Tensor(heads: heads, length: prompt, headDim: headDim, seed: 1)
let k = Tensor(heads: kvHeads, length: prompt, headDim: headDim, seed: 2)
let v = Tensor(heads: kvHeads, length: prompt, headDim: headDim, seed: 3)
let expected = definition(q: q, k: k, v: v)
let prefilled = try prefill(on: device, q: q, k: k, v: v)
let encoded = try encode(on: device, q: q, k: k, v: v)

// One more token: its query attends everything, itself included.
let query = Tensor(heads: heads, length: 1, headDim: headDim, seed: 4)
let next = (
  k: Tensor(heads: kvHeads, length: 1, headDim: headDim, seed: 5),
  v: Tensor(heads: kvHeads, length: 1, headDim: headDim, seed: 6)
)
func joined(_ first: Tensor, _ last: Tensor) -> Tensor {
  let all = Tensor(heads: kvHeads, length: prompt + 1, headDim: headDim)
  for head in 0..<kvHeads {
    for row in 0...prompt {
      let source = row < prompt ? first[head, row] : last[head, 0]
      for (column, value) in source.enumerated() { all.values[(head * (prompt + 1) + row) * headDim + column] = value }
    }
  }
  return all
}
let decoded = try decode(on: device, q: query, k: k, v: v, next: next)
let exact = definition(q: query, k: joined(k, next.k), v: joined(v, next.v))

let isRight = [
  show("prefill", difference(prefilled, expected), atMost: 1e-5),
  show("own command buffer", difference(encoded, expected), atMost: 1e-5),
  show("decode from tq8", difference(decoded, exact), atMost: 0.01),  // what eight bits cost
]
exit(isRight.contains(false) ? 1 : 0)
