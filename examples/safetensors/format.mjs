// The safetensors format: what a header says, and everything that can be wrong with it.
//
//   8 bytes    length of the header, little-endian
//   header     JSON: { "name": { "dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24] }, …, "__metadata__": { … } }
//   data       the tensors, side by side, without gaps; offsets count from here
//
// A file comes from anywhere, so nothing in it is believed: not the lengths, not the shapes, not the offsets.

/** The typed arrays that hold elements as they lie in the file. Halves and eighths have none of their own in Node.js 20. */
export const DTYPES = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  U16: Uint16Array,
  I16: Int16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  U32: Uint32Array,
  I32: Int32Array,
  F32: Float32Array,
  U64: BigUint64Array,
  I64: BigInt64Array,
  F64: Float64Array,
}

/** As the reference implementation has it. */
const HEADER_BYTES_MAX = 100_000_000
const LENGTH_BYTES = 8

/**
 * @typedef {object} Tensor
 * @property {string} name
 * @property {keyof typeof DTYPES} dtype
 * @property {readonly number[]} shape
 * @property {number} position of its first byte in the file
 * @property {number} byteLength
 */

/** What is wrong with a file. `path` says which. */
export class SafetensorsError extends Error {
  code = 'ERR_SAFETENSORS'
  /** @param {string} message @param {string} path */
  constructor(message, path) {
    super(`${message}: '${path}'`)
    this.name = 'SafetensorsError'
    this.path = path
  }
}

/**
 * How many bytes the header has, from the first eight of the file.
 *
 * @param {Buffer} start as many of them as there are @param {number} fileBytes @param {string} path
 */
export function headerLength(start, fileBytes, path) {
  if (start.length < LENGTH_BYTES) throw new SafetensorsError('too short for a header', path)
  const length = start.readBigUInt64LE(0)
  if (length > HEADER_BYTES_MAX)
    throw new SafetensorsError(`a header of ${length} bytes, more than ${HEADER_BYTES_MAX}`, path)
  if (LENGTH_BYTES + Number(length) > fileBytes)
    throw new SafetensorsError(`the header of ${length} bytes reaches beyond the end`, path)
  return Number(length)
}

/**
 * The tensors in the order of the file, and the metadata.
 *
 * @param {Uint8Array} header without its length @param {number} fileBytes @param {string} path
 * @returns {{ tensors: Tensor[], metadata: Record<string, string> }}
 */
export function parseHeader(header, fileBytes, path) {
  const refuse = (/** @type {string} */ message) => new SafetensorsError(message, path)
  let parsed
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header))
  } catch (error) {
    throw refuse(`the header is no JSON (${error instanceof Error ? error.message : error})`)
  }
  if (!isObject(parsed)) throw refuse('the header is no object')
  const dataStart = LENGTH_BYTES + header.length
  /** @type {Tensor[]} */
  const tensors = []
  /** @type {Record<string, string>} */
  let metadata = {}
  for (const [name, entry] of Object.entries(parsed)) {
    if (name === '__metadata__') metadata = metadataOf(entry, refuse)
    else tensors.push(tensorOf(name, entry, dataStart, refuse))
  }
  // Without gaps, and to the end: no byte of the file is without a meaning, and none has two.
  tensors.sort((a, b) => a.position - b.position || a.byteLength - b.byteLength)
  let end = dataStart
  for (const { name, position, byteLength } of tensors) {
    if (position !== end) throw refuse(`tensor '${name}' begins at ${position}, not at ${end} where the last one ended`)
    end += byteLength
  }
  if (end !== fileBytes) throw refuse(`the tensors end at ${end}, the file at ${fileBytes}`)
  return { tensors, metadata }
}

/** @param {string} name @param {any} entry @param {number} dataStart @param {(message: string) => Error} refuse */
function tensorOf(name, entry, dataStart, refuse) {
  if (!isObject(entry)) throw refuse(`tensor '${name}' is no object`)
  const { dtype, shape, data_offsets: offsets } = entry
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPES, dtype))
    throw refuse(`tensor '${name}' is of the unknown type ${JSON.stringify(dtype)}`)
  if (!Array.isArray(shape) || !shape.every(isSize)) throw refuse(`tensor '${name}' has no valid shape`)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0] > offsets[1])
    throw refuse(`tensor '${name}' has no valid offsets`)
  const type = /** @type {keyof typeof DTYPES} */ (dtype)
  const byteLength = offsets[1] - offsets[0]
  // In doubles: a product that is too large to be exact is too large to be right, too.
  const needed = shape.reduce((product, size) => product * size, DTYPES[type].BYTES_PER_ELEMENT)
  if (needed !== byteLength)
    throw refuse(`tensor '${name}' of ${dtype} [${shape}] needs ${needed} bytes and has ${byteLength}`)
  return { name, dtype: type, shape, position: dataStart + offsets[0], byteLength }
}

/** @param {any} entry @param {(message: string) => Error} refuse @returns {Record<string, string>} */
function metadataOf(entry, refuse) {
  if (!isObject(entry) || !Object.values(entry).every((value) => typeof value === 'string'))
    throw refuse('__metadata__ is no object of strings')
  return entry
}

/** @param {any} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** @param {any} value */
function isSize(value) {
  return Number.isSafeInteger(value) && value >= 0
}

/**
 * A header for tensors that follow each other in this order. Padded, so that the data begins on a multiple of eight.
 *
 * @param {Iterable<{ name: string, dtype: keyof typeof DTYPES, shape: readonly number[] }>} tensors
 * @param {Record<string, string>} [metadata]
 * @returns {Buffer}
 */
export function encodeHeader(tensors, metadata) {
  let end = 0
  /** @type {[string, object][]} */
  const entries = metadata === undefined ? [] : [['__metadata__', metadata]]
  for (const { name, dtype, shape } of tensors) {
    const start = end
    end += shape.reduce((product, size) => product * size, DTYPES[dtype].BYTES_PER_ELEMENT)
    entries.push([name, { dtype, shape, data_offsets: [start, end] }])
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const header = Buffer.alloc(LENGTH_BYTES + Math.ceil(json.length / 8) * 8, ' ')
  header.writeBigUInt64LE(BigInt(header.length - LENGTH_BYTES))
  json.copy(header, LENGTH_BYTES)
  return header
}
