// A reader of safetensors files over a page cache: opens lazily, gives tensors without a copy, and twenty fine-tuned
// models that are clones of one are in memory once, but for what differs.
//
//   const model = await Safetensors.open(cache, 'model.safetensors')
//   const weights = await model.array('layers.0.weight')      // a copy: a Float32Array
//   const view = await model.view('layers.0.weight')          // none: view.arrays, one for each page
import { DTYPES, headerLength, parseHeader, SafetensorsError } from './format.mjs'

/** @typedef {import('samepage-cache').PageCache} PageCache */
/** @typedef {import('samepage-cache').CachedFile} CachedFile */
/** @typedef {import('samepage-cache').View} View */
/** @typedef {import('./format.mjs').Tensor} Tensor */
/** @typedef {InstanceType<(typeof DTYPES)[keyof typeof DTYPES]>} TypedArray */

/** A read of more is done in steps: what is asked for at once has to fit into the cache. */
const STEP_BYTES = 1024 * 1024

export class Safetensors {
  /** By name, in the order of the file. @readonly @type {ReadonlyMap<string, Tensor>} */
  tensors
  /** @readonly @type {Readonly<Record<string, string>>} */
  metadata
  /** @type {CachedFile} */
  #file

  /** @private @param {CachedFile} file @param {ReturnType<typeof parseHeader>} header */
  constructor(file, { tensors, metadata }) {
    this.#file = file
    this.tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]))
    this.metadata = metadata
  }

  /**
   * Opens a file and reads its header, nothing else. Rejects with a {@link SafetensorsError} where it is none, or with the system's error.
   *
   * @param {PageCache} cache @param {string} path
   */
  static async open(cache, path) {
    if (!isLittleEndian) throw new SafetensorsError('read on little-endian machines only', path)
    const file = await cache.open(path)
    try {
      const start = await readAll(file, 0, Math.min(8, file.size))
      const length = headerLength(start, file.size, path)
      return new Safetensors(file, parseHeader(await readAll(file, 8, length), file.size, path))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  get path() {
    return this.#file.path
  }

  /**
   * The elements of a tensor as a typed array of their own, which the caller may keep and change. Halves (F16, BF16) come as their 16 bits, eighths as bytes.
   *
   * @param {string} name @param {{ signal?: AbortSignal }} [options] @returns {Promise<TypedArray>}
   */
  async array(name, options) {
    const { dtype, position, byteLength } = this.#tensor(name)
    const bytes = await readAll(this.#file, position, byteLength, options)
    return arrayOf(dtype, bytes)
  }

  /**
   * A tensor where it lies in the cache. To be disposed.
   *
   * @param {string} name @param {{ signal?: AbortSignal }} [options]
   */
  async view(name, options) {
    const tensor = this.#tensor(name)
    return new TensorView(tensor, await this.#file.view(tensor.position, tensor.byteLength, options), this.path)
  }

  /**
   * One row of a tensor (what lies at one index of its first dimension), at once: blocks where it is not in memory. To be disposed.
   *
   * @param {string} name @param {number} index
   */
  rowSync(name, index) {
    const tensor = this.#tensor(name)
    const [rows = 0, ...shape] = tensor.shape
    if (!(Number.isInteger(index) && index >= 0 && index < rows))
      throw new RangeError(`there is no row ${index} in '${name}' of [${tensor.shape}]`)
    const byteLength = tensor.byteLength / rows
    const row = { ...tensor, shape, byteLength, position: tensor.position + index * byteLength }
    return new TensorView(row, this.#file.viewSync(row.position, byteLength), this.path)
  }

  /** Loads a tensor ahead of its use, as far as there is room. @param {string} name */
  async prefetch(name) {
    const { position, byteLength } = this.#tensor(name)
    await this.#file.advise('willneed', position, byteLength)
  }

  close() {
    return this.#file.close()
  }

  [Symbol.asyncDispose]() {
    return this.close()
  }

  /** @param {string} name */
  #tensor(name) {
    const tensor = this.tensors.get(name)
    if (tensor === undefined) throw new RangeError(`there is no tensor '${name}' in '${this.path}'`)
    return tensor
  }
}

/** The elements of a tensor in the cache, pinned until it is disposed. Not to be written to, nor kept longer. */
export class TensorView {
  /** @readonly @type {Tensor} */
  tensor
  /** @type {View} */
  #view

  /** @param {Tensor} tensor @param {View} view @param {string} path */
  constructor(tensor, view, path) {
    this.tensor = tensor
    this.#view = view
    if (view.length === tensor.byteLength) return
    view.dispose()
    throw new SafetensorsError(`tensor '${tensor.name}' is cut off: the file has become shorter`, path)
  }

  /** In their order, each in one page of memory. Elements never cross from one to the next, unless the data is not aligned to them. */
  get parts() {
    return this.#view.parts
  }

  /**
   * The same as typed arrays, without a copy. Where the file does not align its data to the elements, as most writers do, one that is a copy.
   *
   * @returns {readonly TypedArray[]}
   */
  get arrays() {
    const { dtype } = this.tensor
    const size = DTYPES[dtype].BYTES_PER_ELEMENT
    const isAligned = this.parts.every(({ byteOffset, length }) => byteOffset % size === 0 && length % size === 0)
    return isAligned
      ? this.parts.map((part) => arrayOf(dtype, part))
      : [arrayOf(dtype, new Uint8Array(this.#view.bytes))]
  }

  dispose() {
    this.#view.dispose()
  }

  [Symbol.dispose]() {
    this.dispose()
  }
}

/** @param {keyof typeof DTYPES} dtype @param {Uint8Array} bytes aligned to the elements @returns {TypedArray} */
function arrayOf(dtype, bytes) {
  const ArrayType = DTYPES[dtype]
  return new ArrayType(
    /** @type {ArrayBuffer} */ (bytes.buffer),
    bytes.byteOffset,
    bytes.byteLength / ArrayType.BYTES_PER_ELEMENT,
  )
}

/**
 * All of a range, in memory of its own.
 *
 * @param {CachedFile} file @param {number} position @param {number} length @param {{ signal?: AbortSignal }} [options]
 */
async function readAll(file, position, length, { signal } = {}) {
  const bytes = Buffer.from(new ArrayBuffer(length))
  for (let done = 0; done < length; ) {
    const step = { position: position + done, offset: done, length: Math.min(STEP_BYTES, length - done) }
    const count = await file.read(bytes, signal === undefined ? step : { ...step, signal })
    if (count === 0) throw new SafetensorsError('the file has become shorter', file.path)
    done += count
  }
  return bytes
}

const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1
