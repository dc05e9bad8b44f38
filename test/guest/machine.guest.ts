/** The guest is what the other tests take it for. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { STATX_ATTR, statxPath } from '../../src/linux/statx.ts'
import { guestTest } from './rig/guest-test.ts'

const NODE = '/sys/devices/system/node'

guestTest('four nodes, the last without a CPU, at their distances', () => {
  assert.equal(fs.readFileSync(`${NODE}/online`, 'utf8').trim(), '0-3')
  assert.equal(fs.readFileSync(`${NODE}/has_cpu`, 'utf8').trim(), '0-2')
  assert.equal(fs.readFileSync(`${NODE}/node0/distance`, 'utf8').trim(), '10 12 20 30')
})

guestTest('persistent memory with DAX', () => {
  fs.writeFileSync('/pmem/file', 'content')
  assert.notEqual(statxPath('/pmem/file').attributesLow & STATX_ATTR.DAX, 0)
  fs.writeFileSync('/tmp/file', 'content')
  assert.equal(statxPath('/tmp/file').attributesLow & STATX_ATTR.DAX, 0)
  fs.rmSync('/pmem/file')
})
