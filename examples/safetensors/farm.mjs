// A model farm: twenty fine-tuned models, clones of one, in one process. Read with node:fs and kept in memory, and read through the cache.
//
//   node examples/safetensors/farm.mjs --clones 20 --size 64MiB --directory /somewhere/on/xfs
import { fork } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { PageCache } from 'samepage-cache'
import { makeModels } from './models.mjs'
import { Safetensors } from './reader.mjs'

const MIB = 1024 * 1024
const RANDOM_READS = 2000
const MEMORY_SLACK_BYTES = 64 * MIB

/** @typedef {{ name: string, seconds: number, microsecondsAgain: number, processBytes: number, kernelBytes: number, checksum: number, note: string }} Measured */

if (process.send === undefined) await main()
else
  process.once('message', async (job) => process.send?.(await measure(/** @type {Job} */ (job)), () => process.exit()))

async function main() {
  const { values } = parseArgs({
    options: {
      clones: { type: 'string', default: '20' },
      size: { type: 'string', default: '64MiB' },
      changed: { type: 'string', default: '2' },
      directory: { type: 'string', default: os.tmpdir() },
    },
  })
  const clones = Number(values.clones)
  const changed = Number(values.changed)
  const bytes = Number(/^(\d+)MiB$/.exec(values.size)?.[1]) * MIB
  if (!(clones > 0 && bytes > 0 && changed >= 0 && changed <= 32)) {
    console.error('usage: farm.mjs [--clones 20] [--size 64MiB] [--changed 2 (of 32 tensors)] [--directory DIR]')
    process.exitCode = 2
    return
  }
  const directory = fs.mkdtempSync(path.join(values.directory, 'samepage-farm-'))
  try {
    const models = makeModels(directory, { clones, bytes, changed })
    // What is changing at this very moment is not shared: nothing could be proved about it.
    await sleep(100)
    const memory = Math.ceil(bytes * (1 + (clones * changed) / 32)) + MEMORY_SLACK_BYTES
    // Each in a process of its own, on files of which the kernel's memory holds only what has just been written.
    const measured = [await run({ how: 'cache', models, memory }), await run({ how: 'fs', models, memory })]
    console.log(`${clones} models of ${bytes / MIB} MiB, ${changed} of 32 tensors of their own each\n`)
    console.table(
      Object.fromEntries(
        measured.map((it) => [
          it.name,
          {
            'memory of the process, MiB': Math.round(it.processBytes / MIB),
            "kernel's cache grew, MiB": Math.round(it.kernelBytes / MIB),
            'load all, s': Number(it.seconds.toFixed(2)),
            'a random row again, µs': Number(it.microsecondsAgain.toFixed(2)),
          },
        ]),
      ),
    )
    for (const { note } of measured) if (note !== '') console.log(note)
    const [first, second] = measured.map(({ checksum }) => checksum)
    console.log(first === second ? 'Both read the same weights.' : 'THE WEIGHTS DIFFER')
    if (first !== second) process.exitCode = 1
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}

/** @typedef {{ how: 'cache' | 'fs', models: string[], memory: number }} Job */

/** @param {Job} job @returns {Promise<Measured>} */
function run(job) {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url))
    child.once('message', (message) => resolve(/** @type {Measured} */ (message)))
    child.once('exit', (status) => reject(new Error(`the measuring process ended with status ${status}`)))
    child.send(job)
  })
}

/** @param {Job} job @returns {Promise<Measured>} */
async function measure({ how, models, memory }) {
  const before = { process: process.memoryUsage.rss(), kernel: kernelCacheBytes() }
  const farm = how === 'fs' ? new PlainFarm() : await CachedFarm.start(memory)
  const start = performance.now()
  let checksum = 0
  for (const model of models) checksum = await farm.load(model, checksum)
  const seconds = (performance.now() - start) / 1000
  const kernelBytes = kernelCacheBytes() - before.kernel
  const processBytes = process.memoryUsage.rss() - before.process

  const startAgain = performance.now()
  for (let i = 0; i < RANDOM_READS; i++)
    checksum = farm.row((i * 7919) % models.length, (i * 104729) % 32, i * 31, checksum)
  const microsecondsAgain = ((performance.now() - startAgain) * 1000) / RANDOM_READS

  const { name, note } = farm
  await farm.close()
  return {
    name,
    seconds,
    microsecondsAgain,
    processBytes,
    kernelBytes,
    checksum,
    note,
  }
}

/** @typedef {{ words: Uint32Array, dataStart: number, rows: number, columns: number }} PlainModel */

/** Reads whole files, and keeps what it has read, as a server that has its models in memory. */
class PlainFarm {
  name = 'node:fs'
  note = ''
  /** @type {PlainModel[]} */
  #models = []

  /** @param {string} path @param {number} checksum so far */
  async load(path, checksum) {
    const bytes = new Uint8Array(fs.statSync(path).size)
    const fd = fs.openSync(path, 'r')
    for (let done = 0; done < bytes.length; ) done += fs.readSync(fd, bytes, done, bytes.length - done, done)
    fs.closeSync(fd)
    const length = Number(Buffer.from(bytes.buffer).readBigUInt64LE())
    const header = JSON.parse(Buffer.from(bytes.buffer, 8, length).toString())
    const [rows, columns] = header['layers.0.weight'].shape
    const words = new Uint32Array(bytes.buffer)
    this.#models.push({ words, dataStart: (8 + length) / 4, rows, columns })
    return addTo(checksum, words.subarray((8 + length) / 4))
  }

  /** @param {number} model @param {number} layer @param {number} row @param {number} checksum */
  row(model, layer, row, checksum) {
    const { words, dataStart, rows, columns } = /** @type {PlainModel} */ (this.#models[model])
    const at = dataStart + (layer * rows + (row % rows)) * columns
    return addTo(checksum, words.subarray(at, at + columns))
  }

  async close() {}
}

class CachedFarm {
  name = 'samepage-cache'
  note = ''
  #cache
  /** @type {Safetensors[]} */
  #models = []

  /** @param {PageCache} cache */
  constructor(cache) {
    this.#cache = cache
  }

  /** @param {number} memory */
  static async start(memory) {
    return new CachedFarm(await PageCache.create({ memory, yieldUnderPressure: false }))
  }

  /** @param {string} path @param {number} checksum */
  async load(path, checksum) {
    const model = await Safetensors.open(this.#cache, path)
    this.#models.push(model)
    for (const name of model.tensors.keys()) {
      await model.prefetch(name)
      const view = await model.view(name)
      for (const part of view.parts) checksum = addTo(checksum, wordsOf(part))
      view.dispose()
    }
    const { bytesLoaded, homes } = this.#cache.stats()
    this.note = `The cache has read ${Math.round(bytesLoaded / MIB)} MiB${homes > 0 ? '' : '; nothing was shared: this needs reflink clones (XFS, btrfs)'}.`
    return checksum
  }

  /** @param {number} model @param {number} layer @param {number} row @param {number} checksum */
  row(model, layer, row, checksum) {
    const file = /** @type {Safetensors} */ (this.#models[model])
    const name = `layers.${layer}.weight`
    const view = file.rowSync(name, row % /** @type {number} */ (file.tensors.get(name)?.shape[0]))
    for (const part of view.parts) checksum = addTo(checksum, wordsOf(part))
    view.dispose()
    return checksum
  }

  async close() {
    for (const model of this.#models) await model.close()
    await this.#cache.close()
  }
}

/** @param {Uint8Array} bytes */
function wordsOf(bytes) {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

/** The hash of all words so far and of these (FNV-1a, by words). @param {number} hash @param {Uint32Array} words */
function addTo(hash, words) {
  for (let i = 0; i < words.length; i++) hash = Math.imul(hash ^ /** @type {number} */ (words[i]), 16777619)
  return hash
}

/** Bytes of files in the kernel's own cache: the whole machine's, without shared memory, which is what the arena is. */
function kernelCacheBytes() {
  try {
    const text = fs.readFileSync('/proc/meminfo', 'utf8')
    const bytes = (/** @type {string} */ name) => Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(text)?.[1]) * 1024
    return bytes('Cached') - bytes('Shmem')
  } catch {
    return Number.NaN
  }
}
