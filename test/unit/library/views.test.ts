/** Views that are disposed twice, or never. */
import v8 from 'node:v8'
import vm from 'node:vm'
import { expect, test } from 'vitest'
import { type CachedFile, PageCache, type View } from '../../../src/index.ts'
import { noise, PAGE } from '../../support/files.ts'
import { scratchFiles } from '../../support/scratch-files.ts'

const fileOf = scratchFiles()
const CONTENT = noise(200 * PAGE, 1)

const pageOf = (page: number) => CONTENT.subarray(page * PAGE, (page + 1) * PAGE)

/** Shows another page wherever the cache may. */
async function readAll(file: CachedFile): Promise<void> {
  for (let page = 0; page < 200; page++) await file.read(Buffer.alloc(PAGE), { position: page * PAGE })
}

test('a view that is disposed a second time does not let go of what another has pinned since', async () => {
  await using cache = await PageCache.create({ memory: '256KiB', pinsPerThread: 2, yieldUnderPressure: false })
  await using file = await cache.open(fileOf(CONTENT))
  const first = await file.view(0, PAGE)
  first.dispose()
  using second = await file.view(PAGE, PAGE)
  expect(second.isPinned).toBe(true)
  first.dispose()
  await file.advise('dontneed')
  await readAll(file)
  expect(Buffer.compare(second.bytes, pageOf(1))).toBe(0)
})

test('nor does it give its pin back twice, for two others to have', async () => {
  await using cache = await PageCache.create({ memory: '256KiB', pinsPerThread: 2, yieldUnderPressure: false })
  await using file = await cache.open(fileOf(CONTENT))
  const first = await file.view(0, PAGE)
  first.dispose()
  first.dispose()
  const views = [await file.view(0, PAGE), await file.view(PAGE, PAGE), await file.view(2 * PAGE, PAGE)]
  expect(views.map(({ isPinned }) => isPinned)).toEqual([true, true, false])
  await readAll(file)
  for (const [page, view] of views.entries()) expect(Buffer.compare(view.bytes, pageOf(page)), `${page}`).toBe(0)
  for (const view of views) view.dispose()
})

test('views that are collected without having been disposed keep their pins: later ones are copies, and right', async () => {
  v8.setFlagsFromString('--expose-gc')
  const collect = vm.runInNewContext('gc') as () => void
  await using cache = await PageCache.create({ memory: '256KiB', pinsPerThread: 8, yieldUnderPressure: false })
  await using file = await cache.open(fileOf(CONTENT))
  const views = Array.from({ length: 8 }, (_, page) => new WeakRef(file.viewSync(page * PAGE, PAGE)))
  // What a WeakRef was just made of lives until the turn's end.
  await new Promise(setImmediate)
  collect()
  expect(views.map((view): View | undefined => view.deref())).toEqual(views.map(() => undefined))
  await readAll(file)
  for (let page = 0; page < 200; page++) {
    using view = file.viewSync(page * PAGE, PAGE)
    expect(view.isPinned).toBe(false)
    expect(Buffer.compare(view.bytes, pageOf(page))).toBe(0)
  }
  cache.checkInvariants()
})
