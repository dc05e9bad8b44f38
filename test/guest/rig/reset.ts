/**
 * In the guest, for the reset test: looks at what the writer of the boot before has left, if there was one; then writes until the power goes, if it is to.
 *
 *     samepage_verify=SEED:BATCH   that writer's seed, and the last batch that it told to be synced
 *     samepage_seed=SEED           of the writer to be
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { PageCache } from '../../../src/library/page-cache.ts'
import { cloneOnDax } from './files.ts'
import {
  batchOf,
  checkRecords,
  checkSlots,
  contentOf,
  isSynced,
  RECORD_BYTES,
  SLOT_BYTES,
  SLOTS_BYTES,
} from './reset-plan.ts'

const TEMPLATE = '/pmem/reset-template'
const SLOTS_FILE = '/pmem/reset-slots'
const RECORDS_FILE = '/pmem/reset-records'
/** More than are ever written behind the last that is known to be synced. */
const BATCHES_BEHIND = 500

const { samepage_verify, samepage_seed } = process.env
const tell = (message: object) => fs.writeSync(1, `${JSON.stringify(message)}\n`)

try {
  if (samepage_verify !== undefined) {
    const [seed, synced] = samepage_verify.split(':').map(Number) as [number, number]
    tell({ verified: await verify(seed, synced) })
  }
  if (samepage_seed !== undefined) await write(Number(samepage_seed))
} catch (error) {
  tell({ error: error instanceof Error ? `${error.stack}` : String(error) })
}
process.exit()

async function verify(seed: number, synced: number): Promise<object> {
  const template = fs.readFileSync(TEMPLATE)
  assert.ok(template.equals(contentOf(seed, 0, 0, SLOTS_BYTES)), 'the template that the slots are a clone of')
  const slots = fs.readFileSync(SLOTS_FILE)
  assert.equal(slots.length, SLOTS_BYTES)
  const found = checkSlots(seed, synced, slots, BATCHES_BEHIND)
  const records = fs.readFileSync(RECORDS_FILE)
  const recordBytes = checkRecords(seed, synced, records)
  await using cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false })
  for (const [path, bytes] of [
    [SLOTS_FILE, slots],
    [RECORDS_FILE, records],
  ] as const) {
    await using file = await cache.open(path)
    const buffer = Buffer.alloc(bytes.length)
    assert.equal(await file.read(buffer, { position: 0 }), bytes.length)
    assert.ok(buffer.equals(bytes), `${path} through the library`)
  }
  return { synced, ...found, recordBytes }
}

/** Never ends. */
async function write(seed: number): Promise<void> {
  for (const path of [TEMPLATE, SLOTS_FILE, RECORDS_FILE]) fs.rmSync(path, { force: true })
  fillDevice()
  fs.writeFileSync(TEMPLATE, contentOf(seed, 0, 0, SLOTS_BYTES), { flush: true })
  cloneOnDax(TEMPLATE, SLOTS_FILE)
  fs.writeFileSync(RECORDS_FILE, '', { flush: true })
  const cache = await PageCache.create({ memory: '4MiB', yieldUnderPressure: false })
  const slots = await cache.open(SLOTS_FILE, 'r+')
  const records = await cache.open(RECORDS_FILE, 'r+')
  tell({ synced: -1 })
  for (let batch = 0; ; batch++) {
    const position = batch * RECORD_BYTES
    await Promise.all([
      ...batchOf(seed, batch).map(({ slot, version }) => {
        const start = slot * SLOT_BYTES
        return slots.write(contentOf(seed, version, start, start + SLOT_BYTES), { position: start })
      }),
      records.write(contentOf(seed, batch, position, position + RECORD_BYTES), { position }),
    ])
    if (!isSynced(seed, batch)) continue
    await Promise.all([slots.datasync(), records.sync()])
    tell({ synced: batch })
  }
}

/** Leaves bytes in the free blocks that nobody would take for his own: were they seen in a file, it would be found. */
function fillDevice(): void {
  const path = '/pmem/reset-filler'
  const filler = Buffer.alloc(1 << 20, 0xa5)
  const fd = fs.openSync(path, 'w')
  try {
    for (let i = 0; i < 1024; i++) fs.writeSync(fd, filler)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
  fs.fsyncSync(fd)
  fs.closeSync(fd)
  fs.rmSync(path)
}
