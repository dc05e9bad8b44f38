/** The guest is what the other tests take it for. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { isDax } from '../../src/linux/dax.ts'
import { close, O_RDONLY, open } from '../../src/linux/file.ts'
import { guestTest } from './rig/guest-test.ts'

const NODE = '/sys/devices/system/node'

guestTest('four nodes, the last without a CPU, at their distances', () => {
  assert.equal(fs.readFileSync(`${NODE}/online`, 'utf8').trim(), '0-3')
  assert.equal(fs.readFileSync(`${NODE}/has_cpu`, 'utf8').trim(), '0-2')
  assert.equal(fs.readFileSync(`${NODE}/node0/distance`, 'utf8').trim(), '10 12 20 30')
})

guestTest('persistent memory with DAX', () => {
  for (const [path, expected] of [
    ['/pmem/file', true],
    ['/tmp/file', false],
  ] as const) {
    fs.writeFileSync(path, 'content')
    const fd = open(path, O_RDONLY)
    assert.equal(isDax(fd), expected, path)
    close(fd)
    fs.rmSync(path)
  }
})
