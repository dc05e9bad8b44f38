/** Memory that comes while a cache is there: it is not used, and said. The last test: it cannot be taken out again. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PageCache } from '../../src/library/page-cache.ts'
import { readPages, writeFile } from './rig/cached.ts'
import { guestTest } from './rig/guest-test.ts'

const NODE = 4
const options = { memory: '16MiB', numa: 'replicate', yieldUnderPressure: false, dax: 'cache' } as const

guestTest('a node that is plugged in is left alone by caches that are there, and used by those that come', async () => {
  await using cache = await PageCache.create(options)
  using file = cache.openSync(writeFile('/pmem/plugged', 1, 16))
  readPages(file, 1, 0, 16)
  assert.deepEqual(cache.stats().numa!.nodesUnused, [])

  fs.writeFileSync('/sys/devices/system/memory/auto_online_blocks', 'online_movable')
  fs.writeFileSync('/sys/bus/dax/drivers/device_dax/unbind', 'dax1.0')
  fs.writeFileSync('/sys/bus/dax/drivers/kmem/new_id', 'dax1.0')
  for (let i = 0; i < 100 && !fs.existsSync(`/sys/devices/system/node/node${NODE}/meminfo`); i++) await sleep(100)

  assert.deepEqual(cache.stats().numa!.nodesUnused, [NODE])
  readPages(file, 1, 0, 16)
  cache.checkInvariants()
  await using later = await PageCache.create(options)
  assert.deepEqual(later.stats().numa!.nodesUnused, [])
})
