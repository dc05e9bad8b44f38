/** Merges the equal pages of one file: as they are loaded, or by one pass of the scan, which begins when all is loaded. */
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { GrantTable } from '../../src/cache/grants/grant-table.ts'
import { allocateMemory } from '../../src/cache/memory.ts'
import { PageKeeper } from '../../src/cache/page-keeper.ts'
import { WINDOW_MAX } from '../../src/cache/readahead.ts'
import { ReuseClock } from '../../src/cache/reclaim/reuse-clock.ts'
import { Arena } from '../../src/library/arena.ts'
import { FileKeeper } from '../../src/library/file-keeper.ts'
import { loadNative } from '../../src/library/native.ts'
import type { MergeAnswer, MergeTask } from '../client.ts'
import { answer, task } from './support.ts'

const PAGE_BYTES = 4096
/** Seldom enough not to count. */
const LOOK_MS = 100

const { file, way, cpu } = task<MergeTask>()
const pages = fs.statSync(file).size / PAGE_BYTES
// Room for all, and for what leads there.
const frames = Math.ceil(pages * 1.1)
const native = await loadNative()
const memory = allocateMemory({ frames, nodes: pages, mappings: 4, threads: 1, pinsPerThread: 2 })
const arena = Arena.create(frames, native)
const keeper = new PageKeeper(memory, (ages) => new ReuseClock(frames, ages), frames * PAGE_BYTES)
// Nobody is granted anything here.
const authority = new GrantTable({ now: () => performance.now(), after: () => () => {} })
const files = new FileKeeper(memory, keeper, arena, native, undefined, { direct: true, authority, waitMs: 0 })
const options = { ...(cpu === undefined ? {} : { cpu }), onLoad: way === 'load', scan: way === 'scan' }

if (way === 'load') await files.beginMerging(options)
const inode = await files.open(file, false, 0)
for (let page = 0; page < pages; page += WINDOW_MAX) await files.load(inode, page, WINDOW_MAX, WINDOW_MAX, 0, true)
const indexBefore = keeper.indexBytes
const began = performance.now()
const before = process.cpuUsage()
const merging = await files.beginMerging(options)
while (way === 'scan' && merging.stats().fullScans === 0) await sleep(LOOK_MS)
const seconds = (performance.now() - began) / 1000
const { user, system } = process.cpuUsage(before)
const { pagesSharing, pagesScanned, indexBytes, timeMs } = merging.stats()
answer({
  sharing: pagesSharing,
  seconds,
  processorSeconds: (user + system) / 1e6,
  workSeconds: timeMs / 1000,
  bytesPerPage: (indexBytes + keeper.indexBytes - indexBefore) / pagesScanned,
} satisfies MergeAnswer)
files.close(inode)
await files.dispose()
